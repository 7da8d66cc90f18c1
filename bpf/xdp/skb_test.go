package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestJumboFrames sends frames larger than a page. Native XDP has them in several
// buffers, and the length must be that of all.
func TestJumboFrames(t *testing.T) {
	const payload = 8000
	big := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 17, 0).udp(53, 9, payload)
	for _, mode := range []Mode{ModeNative, ModeGeneric, ModeTCX} {
		t.Run(mode.String(), func(t *testing.T) {
			w := newWire(t, 9000)
			d, _ := w.open(mode, Config{})
			w.send(big, big)
			_, sum := w.counted(d, 2)
			want := Counters{Packets: 2, Bytes: 2 * uint64(len(big)), UDPBytes: 2 * uint64(len(big))}
			want.ByClass[cUDP] = 2
			if sum != want {
				t.Errorf("counted %+v, want %+v", sum, want)
			}
		})
	}
}

// TestHeadersOutOfReach sends frames of which the first buffer holds nothing but
// the Ethernet header: TCX has to pull the rest in.
func TestHeadersOutOfReach(t *testing.T) {
	big := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 17, 0).udp(53, 9, 5000)
	w := newWire(t, 9000)
	d, a := w.open(ModeTCX, Config{})
	w.far(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return fmt.Errorf("setting PACKET_VNET_HDR: %w", err)
		}
		to := &unix.SockaddrLinklayer{Ifindex: w.thereIndex, Protocol: 0xffff}
		return unix.Sendto(fd, append(virtioHeader(0, 14, 0), big...), 0, to)
	})
	_, sum := w.counted(d, 1)
	verdicts, err := d.Verdicts(a.Slot)
	w.must(err)
	if sum.ByClass[cUDP] != 1 || sum.Bytes != uint64(len(big)) || verdicts["pass"] != 1 {
		t.Errorf("counted %+v, verdicts %v", sum, verdicts)
	}
}

// segmented is the virtio header of a packet to be cut, and to be given checksums.
func segmented(kind byte, headers, segment, transport, checksum uint16) []byte {
	h := virtioHeader(kind, headers, segment)
	h[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	binary.NativeEndian.PutUint16(h[6:], transport)
	binary.NativeEndian.PutUint16(h[8:], checksum)
	return h
}

// virtioHeader is a struct virtio_net_hdr: the kind of segmentation (0: none),
// how many bytes the headers have, and how many each segment.
func virtioHeader(kind byte, headers, segment uint16) []byte {
	h := []byte{0, kind}
	h = binary.NativeEndian.AppendUint16(h, headers)
	h = binary.NativeEndian.AppendUint16(h, segment)
	return append(h, 0, 0, 0, 0)
}

// tap makes a tun or tap interface that is up and returns its index and what to
// write packets to.
func (w *wire) tap(flags uint16) (index, fd int) {
	w.t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	w.must(err)
	w.t.Cleanup(func() { unix.Close(fd) })
	request, err := unix.NewIfreq("tap0")
	w.must(err)
	request.SetUint16(flags | unix.IFF_NO_PI)
	w.must(unix.IoctlIfreq(fd, unix.TUNSETIFF, request))
	link, err := netlink.LinkByName("tap0")
	w.must(err)
	w.must(netlink.LinkSetUp(link))
	return link.Attrs().Index, fd
}

func (w *wire) openAt(index int, mode Mode) (*Datapath, Attachment) {
	w.t.Helper()
	w.here.Index = index
	return w.open(mode, Config{})
}

// TestSegmentsThatNobodyCounted receives one large packet as a virtual machine
// hands it over: it says how large the segments are, not how many.
func TestSegmentsThatNobodyCounted(t *testing.T) {
	const payload, segment = 3500, 1000
	const a, b, a6, b6 = "203.0.113.9", "198.51.100.1", "2001:db8::9", "2001:db8:1::1"
	for _, c := range []struct {
		name      string
		headers   frame
		transport int // where it begins
		kind      byte
		checksum  uint16 // where in the transport header
		class     int
	}{
		{"tcp", ethernet(0x0800).ipv4(a, b, 6, 0).tcp(1, 80, 0x10), 34, unix.VIRTIO_NET_HDR_GSO_TCPV4, 16, cTCPOther},
		{"tcp in a vlan", ethernet(0x8100).vlan(0x0800).ipv4(a, b, 6, 0).tcp(1, 80, 0x10), 38, unix.VIRTIO_NET_HDR_GSO_TCPV4, 16, cTCPOther},
		{"tcp with options", ethernet(0x0800).ipv4(a, b, 6, 0).tcp(1, 80, 0x10).bytes(12), 34, unix.VIRTIO_NET_HDR_GSO_TCPV4, 16, cTCPOther},
		{"tcp over ipv6", ethernet(0x86dd).ipv6(a6, b6, 6).tcp(1, 80, 0x10), 54, unix.VIRTIO_NET_HDR_GSO_TCPV6, 16, cTCPOther},
		{"udp", ethernet(0x0800).ipv4(a, b, 17, 0).udp(53, 9, 0), 34, unix.VIRTIO_NET_HDR_GSO_UDP_L4, 6, cUDP},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t, 1500)
			index, fd := w.tap(unix.IFF_TAP | unix.IFF_VNET_HDR)
			d, attached := w.openAt(index, ModeTCX)
			f, headers := c.headers.bytes(payload), uint64(len(c.headers))
			setLengths(f, c.transport, c.class == cTCPOther, len(c.headers)-c.transport)
			_, err := unix.Write(fd, append(segmented(c.kind, uint16(headers), segment, uint16(c.transport), c.checksum), f...))
			w.must(err)
			_, sum := w.counted(d, 4)
			want := Counters{Packets: 4, Bytes: payload + 4*headers}
			want.ByClass[c.class] = 4
			if c.class == cUDP {
				want.UDPBytes = want.Bytes
			}
			verdicts, err := d.Verdicts(attached.Slot)
			w.must(err)
			if sum != want || verdicts["pass"] != 4 {
				t.Errorf("counted %+v, want %+v; verdicts %v", sum, want, verdicts)
			}
		})
	}
}

// setLengths writes what the headers say of the packet's length: IP's, and the
// size of a TCP header or UDP's length.
func setLengths(f frame, transport int, tcp bool, header int) {
	if ip := transport - 20; f[ip] == 0x45 {
		binary.BigEndian.PutUint16(f[ip+2:], uint16(len(f)-ip))
	} else {
		binary.BigEndian.PutUint16(f[transport-36:], uint16(len(f)-transport))
	}
	if tcp {
		f[transport+12] = byte(header/4) << 4
	} else {
		binary.BigEndian.PutUint16(f[transport+4:], uint16(len(f)-transport))
	}
}

// TestBareIP counts and drops on an interface without a link layer.
func TestBareIP(t *testing.T) {
	w := newWire(t, 1500)
	index, fd := w.tap(unix.IFF_TUN)
	d, a := w.openAt(index, ModeAuto)
	d.SetFilterMode(a.Slot, FilterEnforce)
	w.must(d.Put([]Entry{{Match: Match{Source: netip.MustParsePrefix("203.0.113.9/32")}, Interfaces: 1 << a.Slot, Action: ActionDrop}}))
	packets := []frame{
		frame{}.ipv4("203.0.113.9", "198.51.100.1", 17, 0).udp(53, 9, 100),
		frame{}.ipv4("203.0.113.8", "198.51.100.1", 6, 0).tcp(1, 80, flagSYN),
		frame{}.ipv6("2001:db8::9", "2001:db8:1::1", 17).udp(53, 9, 50),
	}
	var want Counters
	for _, p := range packets {
		_, err := unix.Write(fd, p)
		w.must(err)
		want.Packets++
		want.Bytes += uint64(len(p))
	}
	want.UDPBytes = uint64(len(packets[0]) + len(packets[2]))
	want.ByClass[cUDP], want.ByClass[cSYN], want.Dropped = 2, 1, 1
	if _, sum := w.counted(d, 3); sum != want {
		t.Errorf("counted %+v, want %+v", sum, want)
	}
	verdicts, err := d.Verdicts(a.Slot)
	w.must(err)
	if verdicts["drop_source"] != 1 || verdicts["pass"] != 2 {
		t.Errorf("verdicts %v", verdicts)
	}
}

// TestLimitCountsSegments limits a source to so few packets that one merged
// packet exceeds it: the limit is on segments, not on how they come.
func TestLimitCountsSegments(t *testing.T) {
	w := newWire(t, 1500)
	index, fd := w.tap(unix.IFF_TAP | unix.IFF_VNET_HDR)
	d, a := w.openAt(index, ModeTCX)
	d.SetFilterMode(a.Slot, FilterEnforce)
	w.must(d.Put([]Entry{{Match: Match{Source: netip.MustParsePrefix("203.0.113.9/32")}, Interfaces: 1 << a.Slot, Action: ActionRateLimit, PPS: 1}}))
	f := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 6, 0).tcp(1, 80, 0x10).bytes(5000)
	binary.BigEndian.PutUint16(f[16:], 40+5000)
	for range 3 {
		_, err := unix.Write(fd, append(virtioHeader(unix.VIRTIO_NET_HDR_GSO_TCPV4, 54, 1000), f...))
		w.must(err)
	}
	w.counted(d, 15)
	verdicts, err := d.Verdicts(a.Slot)
	w.must(err)
	if verdicts["pass_observed"] != 5 || verdicts["limit_source"] != 10 {
		t.Errorf("verdicts %v, want the first packet of 5 segments passed, the other 10 limited", verdicts)
	}
}

// TestRaisedMTU raises the MTU after the program was loaded for frames of one
// buffer. The kernel must refuse that, or every byte must be counted.
func TestRaisedMTU(t *testing.T) {
	w := newWire(t, 1500)
	d, _ := w.open(ModeNative, Config{})
	far, err := w.thereHandle.LinkByIndex(w.thereIndex)
	w.must(err)
	err = w.thereHandle.LinkSetMTU(far, 9000)
	if errors.Is(err, unix.EINVAL) {
		return
	}
	w.must(err)
	w.must(netlink.LinkSetMTU(w.here, 9000))
	big := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 17, 0).udp(53, 9, 8000)
	w.send(big)
	if _, sum := w.counted(d, 1); sum.Bytes != uint64(len(big)) {
		t.Errorf("counted %d bytes of %d", sum.Bytes, len(big))
	}
}
