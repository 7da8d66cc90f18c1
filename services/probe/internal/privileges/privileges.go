// Package privileges gives up what the probe may do and need not.
package privileges

import (
	"errors"
	"fmt"
	"math/bits"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Needed are the capabilities that the probe keeps, as a bit mask: to load BPF
// programs, to attach them to interfaces, and to let them compare pointers as
// those that parse packets do.
const Needed = 1<<unix.CAP_BPF | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_PERFMON

// Drop gives up every capability but those of keep, on all threads and for good:
// nothing that the process may execute gets them back. It returns how many
// capabilities it gave up. A process that never had more loses nothing, and one
// that lacks some of keep does not get them.
func Drop(keep uint64) (dropped int, err error) {
	if err := prctl(unix.PR_SET_NO_NEW_PRIVS, 1); err != nil {
		return 0, fmt.Errorf("ruling out new privileges: %w", err)
	}
	// The bounding set takes CAP_SETPCAP to change. Who lacks that cannot gain
	// from it either, now that there are no new privileges.
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if keep>>c&1 != 0 {
			continue
		}
		if err := prctl(unix.PR_CAPBSET_DROP, c); errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) {
			break // not allowed to, or the kernel knows no more capabilities
		} else if err != nil {
			return 0, fmt.Errorf("dropping capability %d from the bounding set: %w", c, err)
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return 0, fmt.Errorf("reading capabilities: %w", err)
	}
	want := have
	for i := range want {
		part := uint32(keep >> (32 * i))
		want[i].Permitted &= part
		want[i].Effective = want[i].Permitted
		want[i].Inheritable &= part
		dropped += bits.OnesCount32(have[i].Permitted &^ want[i].Permitted)
	}
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&want[0])), 0); errno != 0 {
		return 0, fmt.Errorf("setting capabilities: %w", errno)
	}
	return dropped, nil
}

// prctl sets an attribute of every thread.
func prctl(option, value uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall6(unix.SYS_PRCTL, option, value, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
