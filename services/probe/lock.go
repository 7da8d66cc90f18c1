package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// lockPins makes this process the only one that works on what is pinned at
// path: two would end each other's windows. The lock ends with the process,
// however that ends, or by release.
func lockPins(path string) (release func(), err error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("making the pin directory: %w (is a bpffs mounted there? mount -t bpf bpf /sys/fs/bpf)", err)
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the pin directory: %w", err)
	}
	err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errors.New("another weir-probe is at work on it: stop that first, or set WEIR_PROBE_PIN_PATH")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking %s: %w", path, err), dir.Close())
	}
	return func() { _ = dir.Close() }, nil
}
