package nic

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read returns the interface of this index.
func Read(index int) (Interface, error) {
	all, err := List()
	if err != nil {
		return Interface{}, err
	}
	for _, i := range all {
		if i.Index == index {
			return i, nil
		}
	}
	return Interface{}, fmt.Errorf("interface %d: %w", index, unix.ENODEV)
}

// List returns all interfaces. It asks the kernel and not sysfs, which may show
// another namespace's.
func List() ([]Interface, error) {
	dump, err := syscall.NetlinkRIB(syscall.RTM_GETLINK, syscall.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return nil, fmt.Errorf("reading the list of interfaces: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a socket for ethtool: %w", err)
	}
	defer unix.Close(fd)
	var out []Interface
	for i := range messages {
		m := &messages[i]
		if m.Header.Type != syscall.RTM_NEWLINK || len(m.Data) < syscall.SizeofIfInfomsg {
			continue
		}
		nic, err := parseLink(m)
		if err != nil {
			return nil, err
		}
		askDriver(fd, &nic)
		out = append(out, nic)
	}
	return out, nil
}

func parseLink(m *syscall.NetlinkMessage) (Interface, error) {
	info := (*syscall.IfInfomsg)(unsafe.Pointer(&m.Data[0]))
	nic := Interface{
		Index: int(info.Index), Up: info.Flags&syscall.IFF_UP != 0, Loopback: info.Flags&syscall.IFF_LOOPBACK != 0,
		Ethernet: info.Type == syscall.ARPHRD_ETHER || info.Type == syscall.ARPHRD_LOOPBACK,
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return nic, fmt.Errorf("reading interface %d: %w", nic.Index, err)
	}
	for _, a := range attrs {
		switch a.Attr.Type {
		case syscall.IFLA_IFNAME:
			nic.Name = unix.ByteSliceToString(a.Value)
		case syscall.IFLA_MTU:
			nic.MTU = int(binary.NativeEndian.Uint32(a.Value))
		case unix.IFLA_NUM_RX_QUEUES:
			nic.Queues = int(binary.NativeEndian.Uint32(a.Value))
		case syscall.IFLA_LINKINFO:
			nic.Kind = unix.ByteSliceToString(nested(a.Value, unix.IFLA_INFO_KIND))
		case unix.IFLA_XDP:
			if id := nested(a.Value, unix.IFLA_XDP_PROG_ID); len(id) == 4 {
				nic.XDPProgram = binary.NativeEndian.Uint32(id)
			}
		}
	}
	return nic, nil
}

// nested returns the attribute of this type among those in b, nil if there is
// none.
func nested(b []byte, wanted uint16) []byte {
	for len(b) >= unix.SizeofRtAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < unix.SizeofRtAttr || n > len(b) {
			break
		}
		if binary.NativeEndian.Uint16(b[2:]) == wanted {
			return b[unix.SizeofRtAttr:n]
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

// flagLRO is ETH_FLAG_LRO of linux/ethtool.h.
const flagLRO = 1 << 15

// askDriver adds what ethtool knows. A driver need not answer.
func askDriver(fd int, nic *Interface) {
	if info, err := unix.IoctlGetEthtoolDrvinfo(fd, nic.Name); err == nil {
		nic.Driver = unix.ByteSliceToString(info.Driver[:])
	}
	flags := struct{ command, data uint32 }{command: unix.ETHTOOL_GFLAGS}
	if ethtool(fd, nic.Name, unsafe.Pointer(&flags)) == nil {
		nic.LRO = flags.data&flagLRO != 0
	}
	var channels struct { // struct ethtool_channels
		command                             uint32
		maxRX, maxTX, maxOther, maxCombined uint32
		rx, tx, other, combined             uint32
	}
	channels.command = unix.ETHTOOL_GCHANNELS
	if ethtool(fd, nic.Name, unsafe.Pointer(&channels)) == nil {
		nic.Queues = int(channels.rx + channels.combined)
		nic.MaxQueues = int(channels.maxRX + channels.maxCombined)
	}
}

func ethtool(fd int, name string, command unsafe.Pointer) error {
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	request.data = command
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
