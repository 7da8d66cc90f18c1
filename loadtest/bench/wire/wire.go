// Package wire measures on a veth pair between two network namespaces, where
// packets come through a driver and go on into the network stack: what it costs
// to drop or pass them, what bulk TCP reaches, and what a flood takes from a host.
package wire

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/lab"
)

// Wire is a lab's veth pair, with the interfaces' numbers.
type Wire struct {
	*lab.Lab
	Victim, Clients int // ifindexes
}

// Open builds a lab. NAPI is on at the victim's end also without XDP, as on a
// NIC, and the clients' end sends whole packets one by one.
func Open(id string, mtu int) (*Wire, error) {
	l, err := lab.New(lab.Config{ID: id, MTU: mtu})
	if err != nil {
		return nil, err
	}
	w := &Wire{Lab: l}
	if w.Victim, err = w.ifindex(lab.Victim); err == nil {
		w.Clients, err = w.ifindex(lab.Clients)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return w, nil
}

func (w *Wire) ifindex(ns lab.Namespace) (index int, err error) {
	err = w.Do(ns, func() error {
		ifi, err := net.InterfaceByName(lab.DataInterface)
		if err != nil {
			return fmt.Errorf("finding the wire: %w", err)
		}
		index = ifi.Index
		return nil
	})
	return index, err
}

// The offloads that are switched, as ethtool(8) numbers them.
const (
	setTSO = 0x1f
	setGRO = 0x2c
)

// likeNIC makes the victim's end receive through NAPI, and its peer hand over
// single packets: what a NIC does. Bulk TCP is measured without it.
func (w *Wire) likeNIC() error {
	return errors.Join(w.offload(lab.Victim, setGRO, 1), w.offload(lab.Clients, setTSO, 0))
}

// offload switches an offload of an end of the wire.
func (w *Wire) offload(ns lab.Namespace, command, value uint32) error {
	return w.Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("switching an offload: %w", err)
		}
		defer func() { _ = unix.Close(fd) }()
		order := [2]uint32{command, value}
		request := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&order)}
		copy(request.name[:], lab.DataInterface)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("switching offload %#x: %w", command, errno)
		}
		return nil
	})
}

// kernelThread finds a thread of the kernel by its name.
func kernelThread(matches func(name string) bool) (pid int, ok bool) {
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return 0, false
	}
	for _, f := range files {
		name, err := os.ReadFile(f)
		if err == nil && matches(strings.TrimSpace(string(name))) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			return pid, err == nil
		}
	}
	return 0, false
}

// timeOf is the CPU time that a process's first thread, such as one of the
// kernel, has used.
func timeOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
	if err != nil {
		return 0 // it has ended, or was never there
	}
	onCPU, _, _ := strings.Cut(string(text), " ")
	ns, err := strconv.ParseInt(onCPU, 10, 64)
	if err != nil {
		return 0
	}
	return time.Duration(ns)
}
