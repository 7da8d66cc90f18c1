package lab

import (
	"bytes"
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// WireStats are the kernel's own counters of one end of the wire.
type WireStats struct {
	SentPackets, SentBytes         uint64 // bytes without the 14 of the Ethernet header on some drivers; veth counts them
	SentDropped                    uint64 // refused by the peer: its ring was full
	ReceivedPackets, ReceivedBytes uint64
}

// Wire returns the counters of the data interface in ns.
func (l *Lab) Wire(ns Namespace) (WireStats, error) {
	h := l.victim
	if ns == Clients {
		h = l.clients
	}
	link, err := h.LinkByName(DataInterface)
	if err != nil {
		return WireStats{}, fmt.Errorf("reading interface counters: %w", err)
	}
	s := link.Attrs().Statistics
	return WireStats{
		SentPackets: s.TxPackets, SentBytes: s.TxBytes, SentDropped: s.TxDropped,
		ReceivedPackets: s.RxPackets, ReceivedBytes: s.RxBytes,
	}, nil
}

// DropMeter reads how many frames native XDP dropped on an interface, as the
// veth driver counts them: a witness that shares no code with the probe.
type DropMeter struct {
	fd      int
	ifname  string
	indexes []int // of the per-queue counters
	count   int   // of all statistics
	buffer  []uint64
}

const (
	ethtoolGetStrings  = 0x1b
	ethtoolGetStats    = 0x1d
	ethtoolGetSetInfo  = 0x37
	ethtoolStringStats = 1
	ethtoolStringLen   = 32
)

// ifreqData is struct ifreq with a pointer.
type ifreqData struct {
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [16]byte
}

// NewDropMeter opens the counters of the victim's data interface. Only veth
// has the counter that it reads.
func (l *Lab) NewDropMeter() (*DropMeter, error) {
	m := &DropMeter{ifname: DataInterface}
	// A socket belongs to the namespace in which it was opened, for good.
	err := l.Do(Victim, func() (err error) {
		m.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("opening interface statistics: %w", err)
	}
	if err := m.find(); err != nil {
		_ = unix.Close(m.fd)
		return nil, err
	}
	return m, nil
}

// find looks up which of the interface's statistics are XDP drops.
func (m *DropMeter) find() error {
	info := struct {
		cmd, reserved uint32
		mask          uint64
		length        uint32
	}{cmd: ethtoolGetSetInfo, mask: 1 << ethtoolStringStats}
	if err := m.ioctl(unsafe.Pointer(&info)); err != nil {
		return fmt.Errorf("counting interface statistics: %w", err)
	}
	m.count = int(info.length)
	names := make([]byte, 12+m.count*ethtoolStringLen)
	header := (*[3]uint32)(unsafe.Pointer(&names[0]))
	header[0], header[1], header[2] = ethtoolGetStrings, ethtoolStringStats, uint32(m.count)
	if err := m.ioctl(unsafe.Pointer(&names[0])); err != nil {
		return fmt.Errorf("naming interface statistics: %w", err)
	}
	for i := range m.count {
		name, _, _ := bytes.Cut(names[12+i*ethtoolStringLen:12+(i+1)*ethtoolStringLen], []byte{0})
		if strings.HasSuffix(string(name), "_xdp_drops") {
			m.indexes = append(m.indexes, i)
		}
	}
	if len(m.indexes) == 0 {
		return fmt.Errorf("interface %s does not count XDP drops", m.ifname)
	}
	m.buffer = make([]uint64, 1+m.count)
	return nil
}

// Drops returns the frames dropped by XDP since the interface was made.
func (m *DropMeter) Drops() (uint64, error) {
	header := (*[2]uint32)(unsafe.Pointer(&m.buffer[0]))
	header[0], header[1] = ethtoolGetStats, uint32(m.count)
	if err := m.ioctl(unsafe.Pointer(&m.buffer[0])); err != nil {
		return 0, fmt.Errorf("reading interface statistics: %w", err)
	}
	var sum uint64
	for _, i := range m.indexes {
		sum += m.buffer[1+i]
	}
	return sum, nil
}

// Close releases the counters.
func (m *DropMeter) Close() error { return unix.Close(m.fd) }

func (m *DropMeter) ioctl(data unsafe.Pointer) error {
	var r ifreqData
	copy(r.name[:], m.ifname)
	r.data = data
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(m.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return errno
	}
	return nil
}
