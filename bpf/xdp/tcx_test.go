package xdp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestModesCountTheSame sends the same frames through each mode of attachment:
// every counter must be the same, whatever the kernel did to the frame before.
func TestModesCountTheSame(t *testing.T) {
	const a, b, a6, b6 = "203.0.113.9", "198.51.100.1", "2001:db8::9", "2001:db8:1::1"
	udp := func(f frame) frame { return f.ipv4(a, b, 17, 0).udp(53, 9, 100) }
	malformed := ethernet(0x0800).ipv4(a, b, 6, 0).bytes(40)
	malformed[14] = 0x44
	frames := []frame{
		udp(ethernet(0x0800)),
		udp(ethernet(0x8100).vlan(0x0800)),
		udp(ethernet(0x88a8).vlan(0x8100).vlan(0x0800)),
		udp(ethernet(0x88a8).vlan(0x8100).vlan(0x8100).vlan(0x0800)),
		udp(ethernet(0x8100).vlan(0x8100).vlan(0x8100).vlan(0x8100).vlan(0x0800)), // a tag too many: not IP
		ethernet(0x0800).ipv4(a, b, 6, 0).tcp(1, 80, flagSYN),
		ethernet(0x0800).ipv4(a, b, 17, 0x2001).bytes(64),
		ethernet(0x86dd).ipv6(a6, b6, 6).tcp(1, 80, 0x10).bytes(1000),
		ethernet(0x86dd).ipv6(a6, b6, 0).extension(58).bytes(8),
		ethernet(0x0806).bytes(46),
		malformed,
	}
	var want Counters
	var wantRest Window
	for i, f := range frames {
		switch i {
		case 4, 9:
			wantRest.NonIP++
			wantRest.NonIPBytes += uint64(len(f))
		case 10:
			wantRest.Malformed++
			wantRest.MalformedBytes += uint64(len(f))
		default:
			want.Packets++
			want.Bytes += uint64(len(f))
		}
		if i < 4 {
			want.ByClass[cUDP]++
			want.UDPBytes += uint64(len(f))
		}
	}
	want.ByClass[cSYN], want.ByClass[cFragLater], want.ByClass[cTCPOther], want.ByClass[cICMP] = 1, 1, 1, 1
	for _, mode := range []Mode{ModeNative, ModeGeneric, ModeTCX} {
		t.Run(mode.String(), func(t *testing.T) {
			w := newWire(t, 1500)
			d, got := w.open(mode, Config{})
			if got.Mode != mode || got.Reason != "as configured" {
				t.Fatalf("attached as %+v", got)
			}
			w.send(frames...)
			rest, sum := w.counted(d, uint64(len(frames)))
			if sum != want {
				t.Errorf("counted %+v\nwant    %+v", sum, want)
			}
			if rest.NonIP != wantRest.NonIP || rest.NonIPBytes != wantRest.NonIPBytes ||
				rest.Malformed != wantRest.Malformed || rest.MalformedBytes != wantRest.MalformedBytes {
				t.Errorf("counted %s\nwant %s", rest.String(), wantRest.String())
			}
		})
	}
}

// TestTCXCountsSegments sends TCP in packets as large as the kernel makes them.
// Both counters must be those of the segments that would be on a wire.
func TestTCXCountsSegments(t *testing.T) {
	w := newWire(t, 1500)
	d, a := w.open(ModeTCX, Config{})
	sent := w.transfer(8 << 20)
	_, sum := w.counted(d, sent.segments)
	// All segments carry a timestamp option; the SYN has more.
	const header, syn = 14 + 20 + 32, 14 + 20 + 40
	want := sent.payload + header*(sent.segments-1) + syn
	if sum.Packets != sent.segments || sum.Bytes != want || sum.ByClass[cSYN] != 1 {
		t.Errorf("counted %d packets and %d bytes, %d SYN; the sender says %d segments, %d bytes, one SYN",
			sum.Packets, sum.Bytes, sum.ByClass[cSYN], sent.segments, want)
	}
	verdicts, err := d.Verdicts(a.Slot)
	w.must(err)
	if verdicts["pass"] != sent.segments {
		t.Errorf("verdicts %v, want %d passed", verdicts, sent.segments)
	}
	if calls := w.receivedBuffers(); calls*4 > sent.segments {
		t.Errorf("%d segments came in %d buffers: nothing was merged, so this test shows nothing", sent.segments, calls)
	}
}

// sentTCP is what the sender's kernel says of a connection.
type sentTCP struct {
	segments uint64 // SYN and bare acknowledgements included
	payload  uint64 // bytes, repeated ones included
}

// transfer sends so many bytes from the other end to this one and returns once
// all have arrived. The connection stays open until the test ends: closing it
// would send more.
func (w *wire) transfer(payload int64) (sent sentTCP) {
	w.t.Helper()
	listener, err := net.Listen("tcp4", netip.AddrPortFrom(hereAddress, 0).String())
	w.must(err)
	w.t.Cleanup(func() { listener.Close() })
	arrived := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			w.t.Cleanup(func() { conn.Close() })
			_, err = io.CopyN(io.Discard, conn, payload)
		}
		arrived <- err
	}()
	w.far(func() error {
		conn, err := new(net.Dialer).DialContext(context.Background(), "tcp4", listener.Addr().String())
		if err != nil {
			return err
		}
		w.t.Cleanup(func() { conn.Close() })
		if _, err := io.CopyN(conn, zeros{}, payload); err != nil {
			return err
		}
		if err := <-arrived; err != nil {
			return err
		}
		raw, err := conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			return err
		}
		var info *unix.TCPInfo
		if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil {
			return e
		}
		if err != nil {
			return fmt.Errorf("reading TCP_INFO: %w", err)
		}
		sent = sentTCP{uint64(info.Segs_out), info.Bytes_sent}
		return nil
	})
	return sent
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// TestTCXDrops checks with a real socket that what a lease drops never arrives,
// and what it does not does.
func TestTCXDrops(t *testing.T) {
	w := newWire(t, 1500)
	d, a := w.open(ModeTCX, Config{})
	d.SetFilterMode(a.Slot, FilterEnforce)
	flow := w.udp()
	flow.expect(true, "with no lease")
	lease := Entry{Match: Match{Source: netip.PrefixFrom(thereAddress, 32)}, Interfaces: 1 << a.Slot, Action: ActionDrop}
	w.must(d.Put([]Entry{lease}))
	flow.expect(false, "under a lease")
	d.SetFilterMode(a.Slot, FilterObserve)
	flow.expect(true, "while observing")
	verdicts, err := d.Verdicts(a.Slot)
	w.must(err)
	if verdicts["drop_source"] == 0 || verdicts["would_drop"] == 0 || verdicts["pass"] == 0 {
		t.Errorf("verdicts %v", verdicts)
	}
	w.must(d.Detach(w.here.Index))
	flow.expect(true, "after it is detached")
}

// udpFlow sends numbered datagrams from the other end to a socket at this one.
type udpFlow struct {
	w        *wire
	from, to *net.UDPConn
	sent     byte
}

func (w *wire) udp() *udpFlow {
	w.t.Helper()
	f := &udpFlow{w: w}
	var err error
	f.to, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(hereAddress, 0)))
	w.must(err)
	w.t.Cleanup(func() { f.to.Close() })
	w.far(func() (err error) {
		f.from, err = net.DialUDP("udp4", nil, f.to.LocalAddr().(*net.UDPAddr))
		return err
	})
	w.t.Cleanup(func() { f.from.Close() })
	return f
}

// expectNothing checks that nothing has arrived that was not read.
func (f *udpFlow) expectNothing() {
	f.w.t.Helper()
	f.w.must(f.to.SetReadDeadline(time.Now().Add(100 * time.Millisecond)))
	if n, err := f.to.Read(make([]byte, 16)); err == nil {
		f.w.t.Errorf("a datagram of %d bytes arrived", n)
	}
}

// expect sends one datagram and checks that it arrives, or does not. A veth
// delivers within the sender's call or shortly after; what has not arrived in
// 300 ms was dropped.
func (f *udpFlow) expect(arrives bool, when string) {
	f.w.t.Helper()
	f.sent++
	_, err := f.from.Write([]byte{f.sent})
	f.w.must(err)
	wait := 300 * time.Millisecond
	if arrives {
		wait = 5 * time.Second
	}
	f.w.must(f.to.SetReadDeadline(time.Now().Add(wait)))
	var b [16]byte
	n, err := f.to.Read(b[:])
	if got := err == nil && n == 1 && b[0] == f.sent; got != arrives {
		f.w.t.Errorf("%s: a datagram arrives: %v, want %v (%v)", when, got, arrives, err)
	}
}

// receivedBuffers is how many socket buffers have come, however many packets
// each stands for.
func (w *wire) receivedBuffers() uint64 {
	w.t.Helper()
	link, err := netlink.LinkByIndex(w.here.Index)
	w.must(err)
	return link.Attrs().Statistics.RxPackets
}
