package kafka

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// boundSilence ends a connection on which nothing was acknowledged for 3 s.
func boundSilence(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 3000)
	})
	return errors.Join(err, failed)
}
