package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/lab"
)

// receiving is how the victim's end takes packets up.
type receiving struct {
	// threaded makes it a kernel thread of its own; else it is the softirq of the
	// CPU that a packet's interrupt comes to, on a veth that of the sender.
	threaded bool
	// wait is how long it waits for more once it has taken up a packet; a NIC that
	// moderates its interrupts does the same.
	wait time.Duration
}

// receive sets how the victim's end takes packets up. That is in files of the
// namespace's sysfs, which needs a mount namespace to be seen without disturbing
// the machine's.
func (w *Wire) receive(r receiving) error {
	done := make(chan error)
	go func() {
		// The thread is not unlocked: it is elsewhere for good, and ends with
		// the goroutine.
		runtime.LockOSThread()
		done <- w.setReceiving(r)
	}()
	return <-done
}

func (w *Wire) setReceiving(r receiving) error {
	ns, err := netns.GetFromName(w.NamespaceName(lab.Victim))
	if err != nil {
		return fmt.Errorf("opening namespace: %w", err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("entering namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leaving the machine's mounts alone: %w", err)
	}
	if err := unix.Mount("weir", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mounting the namespace's sysfs: %w", err)
	}
	// The last wait that brings nothing ends the waiting.
	threaded, waits := "0", "0"
	if r.threaded {
		threaded = "1"
	}
	if r.wait > 0 {
		waits = "1"
	}
	for _, setting := range [][2]string{
		{"threaded", threaded}, {"gro_flush_timeout", strconv.FormatInt(r.wait.Nanoseconds(), 10)}, {"napi_defer_hard_irqs", waits},
	} {
		if err := os.WriteFile(filepath.Join("/sys/class/net", lab.DataInterface, setting[0]), []byte(setting[1]), 0); err != nil {
			return fmt.Errorf("setting how the wire receives: %w", err)
		}
	}
	return nil
}
