// Package nic reads of a network interface what decides how a program is best
// attached to it, and what makes a driver refuse one.
package nic

import (
	"errors"
	"fmt"
	"strings"
)

// ErrUnsupported is returned where interfaces cannot be read: not on Linux.
var ErrUnsupported = errors.New("network interfaces can be inspected on Linux only")

// Interface is one interface of the calling thread's network namespace. What
// the driver does not tell is zero.
type Interface struct {
	Index int
	Name  string
	// Kind is the kernel's name for a software interface (veth, bridge, tun,
	// bond); empty for what has a driver and for the loopback.
	Kind     string
	Driver   string
	MTU      int // bytes, without the Ethernet header
	Up       bool
	Loopback bool
	Ethernet bool // it has an Ethernet header: frames, not bare IP packets
	LRO      bool // the NIC merges packets
	Queues   int  // receive queues in use
	// MaxQueues is how many the NIC has to offer; 0 where it is not said.
	MaxQueues int
	// XDPProgram is the kernel's number of the XDP program on it; 0 if none.
	XDPProgram uint32
}

// Virtual reports whether packets come from software on this machine, which
// hands them over larger than any wire would. Bonds and teams hand on what
// their NICs receive.
func (i Interface) Virtual() bool {
	return i.Loopback || (i.Kind != "" && i.Kind != "bond" && i.Kind != "team")
}

// What is the interface in words: "veth", "loopback", "virtio_net".
func (i Interface) What() string {
	switch {
	case i.Loopback:
		return "loopback"
	case i.Kind != "":
		return i.Kind
	case i.Driver != "":
		return i.Driver
	default:
		return "unknown driver"
	}
}

// nativeMTU is what every driver takes natively where a frame has to lie in one
// page: 4 KiB less headroom and the kernel's own part, which differ a little.
const nativeMTU = 3000

// Suspects names what commonly makes a driver refuse native XDP and holds of
// this interface, with what to do about it.
func (i Interface) Suspects() string {
	if i.Virtual() {
		return ""
	}
	var out []string
	if i.LRO {
		out = append(out, fmt.Sprintf("LRO is on (ethtool -K %s lro off)", i.Name))
	}
	if i.MTU > nativeMTU {
		out = append(out, fmt.Sprintf("its MTU is %d (ip link set %s mtu %d, where the driver has no multi-buffer XDP)", i.MTU, i.Name, nativeMTU))
	}
	if i.MaxQueues > 1 && i.Queues*2 > i.MaxQueues {
		out = append(out, fmt.Sprintf("it uses %d of %d queues, and XDP may need as many again (ethtool -L %s combined %d)",
			i.Queues, i.MaxQueues, i.Name, i.MaxQueues/2))
	}
	return strings.Join(out, "; ")
}

// IsJumbo reports whether a driver may spread the interface's frames over
// several buffers.
func (i Interface) IsJumbo() bool { return i.MTU > nativeMTU }
