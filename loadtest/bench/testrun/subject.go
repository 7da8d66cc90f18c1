// Package testrun measures what XDP programs cost per packet, with
// BPF_PROG_TEST_RUN: no interface, no driver, every packet from another source.
//
// A cost is CPU time of the thread, since the wall clock counts whoever else
// wanted the CPU. Programs that are compared take turns, trial by trial, so that
// a disturbance meets all of them; of each trial what a program that does nothing
// costs at that time is subtracted, and a result is the median of the calmer half.
package testrun

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/bench/peers"
)

// Frame is a packet of which four bytes vary.
type Frame struct {
	Bytes  []byte
	Varies int  // where these bytes are
	Half   bool // they are the second half of half an IPv6 address
}

// The addresses of the frames. The destination is one host, as in a flood.
var (
	victim4 = netip.MustParseAddr("198.18.0.1").As4()
	victim6 = netip.MustParseAddr("2001:db8:0:1::1").As16()
	remote6 = netip.MustParseAddr("2001:db8::1").As16()
)

const (
	protoTCP = 6
	protoUDP = 17
)

func ethernet(etherType uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, etherType)
}

func ipv4(f []byte, protocol byte, transport []byte) Frame {
	at := len(f) + 12
	f = append(f, 0x45, 0, 0, byte(20+len(transport)), 0, 1, 0, 0, 64, protocol, 0, 0, 0, 0, 0, 0)
	f = append(f, victim4[:]...)
	return Frame{Bytes: append(f, transport...), Varies: at}
}

// tcp is a SYN; udp has so many bytes of payload that its frame is as long.
func tcp() []byte {
	return []byte{0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0}
}

func udp() []byte {
	return append([]byte{0x30, 0x39, 0, 53, 0, 20, 0, 0}, make([]byte, 12)...)
}

// SYN is a TCP SYN over IPv4, the frame of all measurements that say nothing else.
func SYN() Frame { return ipv4(ethernet(0x0800), protoTCP, tcp()) }

// UDP is a datagram over IPv4.
func UDP() Frame { return ipv4(ethernet(0x0800), protoUDP, udp()) }

// VLAN is SYN with a tag.
func VLAN() Frame {
	return ipv4(append(ethernet(0x8100), 0, 100, 0x08, 0x00), protoTCP, tcp())
}

// SYN6 is a TCP SYN over IPv6; what varies lies in the upper half of the source,
// so that sources that are grouped by /64 stay as many.
func SYN6() Frame {
	f := append(ethernet(0x86dd), 0x60, 0, 0, 0, 0, 20, protoTCP, 64)
	at := len(f) + 4
	f = append(f, remote6[:]...)
	f = append(f, victim6[:]...)
	return Frame{Bytes: append(f, tcp()...), Varies: at, Half: true}
}

// Subject is a program that is measured on one kind of frame.
type Subject struct {
	Name   string
	frame  []byte
	picker *peers.Picker
	end    func() error // ends a window; nil: the program knows none
}

// NewSubject puts a picker in front of program, which stays the caller's.
func NewSubject(name string, program *ebpf.Program, f Frame) (*Subject, error) {
	picker, err := peers.NewPicker(program, f.Bytes, f.Varies, f.Half)
	if err != nil {
		return nil, fmt.Errorf("preparing to measure %s: %w", name, err)
	}
	return &Subject{Name: name, frame: f.Bytes, picker: picker}, nil
}

// Close unloads the picker.
func (s *Subject) Close() { s.picker.Close() }

// Choose makes packets come from so many sources, numbered from first.
func (s *Subject) Choose(first, count uint32) error { return s.picker.Sources(first, count) }

// Sent returns the packets that the program has seen through this subject.
func (s *Subject) Sent() (uint64, error) { return s.picker.Sent() }

// Walk sends packets from one source after the other: after as many packets as
// sources, each has come once.
func (s *Subject) Walk(packets uint32) error {
	return run(s.picker.InTurn(), s.frame, packets)
}

// settling is how many windows a data plane is given: it knows what it needs after
// two, and has forgotten what it needed before after as many as it remembers.
const settling = 6

// perWindow is how many packets such a window has, if there are not more sources: as a
// quarter of a second has at 16 million a second. Of a source that sends more than a few
// more is noted, for which there has to be room.
const perWindow = 4_000_000

// Settle is Walk for programs that adapt to their traffic: windows of it come before
// and are drained, as a probe does all the time, so that the tables are those of a
// flood that lasts. It leaves a window open that has seen each source.
func (s *Subject) Settle(sources uint32) error {
	if s.end != nil {
		for range settling {
			if err := s.Walk(max(sources, perWindow)); err != nil {
				return err
			}
			if err := s.end(); err != nil {
				return err
			}
		}
	}
	return s.Walk(sources)
}

// Run sends packets from random sources, within On, and returns the CPU time and the number
// of packets, which may be more than asked for.
func (s *Subject) Run(packets uint32) (time.Duration, uint64, error) {
	before, err := s.Sent()
	if err != nil {
		return 0, 0, err
	}
	start := ThreadTime()
	if err := run(s.picker.Random(), s.frame, packets); err != nil {
		return 0, 0, fmt.Errorf("measuring %s: %w", s.Name, err)
	}
	used := ThreadTime() - start
	after, err := s.Sent()
	return used, after - before, err
}

// perPacket is the CPU time of a packet in ns, of at least so many.
func (s *Subject) perPacket(packets uint32) (float64, error) {
	used, n, err := s.Run(packets)
	if err != nil {
		return 0, err
	}
	return float64(used.Nanoseconds()) / float64(n), nil
}

// RunFor is Run for about so long by the wall clock.
func (s *Subject) RunFor(d time.Duration) (used time.Duration, packets uint64, err error) {
	for start := time.Now(); time.Since(start) < d; {
		u, n, err := s.Run(100_000)
		if err != nil {
			return 0, 0, err
		}
		used += u
		packets += n
	}
	return used, packets, nil
}

func run(program *ebpf.Program, frame []byte, packets uint32) error {
	if packets == 0 {
		return nil
	}
	verdict, err := program.Run(&ebpf.RunOptions{Data: frame, Repeat: packets})
	if err != nil {
		return fmt.Errorf("running a program: %w", err)
	}
	if verdict == xdpAborted {
		return fmt.Errorf("running a program: the last packet was aborted")
	}
	return nil
}

const xdpAborted = 0

// ThreadTime is the CPU time of the calling thread, in user and in kernel mode.
func ThreadTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		return 0 // not possible: the clock exists since 2.6.12
	}
	return time.Duration(ts.Nano())
}
