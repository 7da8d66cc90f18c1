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
	const payload, segment, headers = 3500, 1000, 14 + 20 + 20
	for name, tag := range map[string]bool{"plain": false, "vlan": true} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t, 1500)
			index, fd := w.tap(unix.IFF_TAP | unix.IFF_VNET_HDR)
			d, a := w.openAt(index, ModeTCX)
			f, perSegment := ethernet(0x0800), uint64(headers)
			if tag {
				f, perSegment = ethernet(0x8100).vlan(0x0800), headers+4
			}
			f = f.ipv4("203.0.113.9", "198.51.100.1", 6, 0).tcp(1, 80, 0x10).bytes(payload)
			binary.BigEndian.PutUint16(f[perSegment-40+2:], 40+payload) // IP total length
			_, err := unix.Write(fd, append(virtioHeader(unix.VIRTIO_NET_HDR_GSO_TCPV4, uint16(perSegment), segment), f...))
			w.must(err)
			_, sum := w.counted(d, 4)
			want := Counters{Packets: 4, Bytes: payload + 4*perSegment}
			want.ByClass[cTCPOther] = 4
			verdicts, err := d.Verdicts(a.Slot)
			w.must(err)
			if sum != want || verdicts["pass"] != 4 {
				t.Errorf("counted %+v, want %+v; verdicts %v", sum, want, verdicts)
			}
		})
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
