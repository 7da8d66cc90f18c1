package xdp

import (
	"fmt"
	"testing"
)

const (
	cSYN = iota
	cSYNACK
	cRST
	cTCPOther
	cUDP
	cICMP
	cFragLater
	cOther
	cNonIP
	cMalformed
)

// TestFrames holds the parser and the counters against one frame each: verdict,
// class, source and every counter of the window, unexpected ones included.
func TestFrames(t *testing.T) {
	const a4, b4, a6, b6 = "203.0.113.9", "198.51.100.1", "2001:db8:1:2:3:4:5:6", "2001:db8:ffff::1"
	v4 := func(proto byte, fragment uint16) frame { return ethernet(0x0800).ipv4(a4, b4, proto, fragment) }
	v6 := func(next byte) frame { return ethernet(0x86dd).ipv6(a6, b6, next) }
	badIHL, badVersion4, badVersion6 := v4(6, 0), v4(6, 0), v6(6)
	badIHL[14] = 0x44
	badVersion4[14] = 0x65
	badVersion6[14] = 0x45
	options := v4(6, 0).bytes(4).tcp(1, 80, flagSYN)
	options[14] = 0x46
	cutOptions := v4(6, 0)
	cutOptions[14] = 0x4f
	cases := []struct {
		name   string
		f      frame
		class  int
		source string
	}{
		{"tcp syn", v4(6, 0).tcp(1, 80, 0x02), cSYN, a4},
		{"tcp syn ece cwr", v4(6, 0).tcp(1, 80, 0xc2), cSYN, a4},
		{"tcp syn rst", v4(6, 0).tcp(1, 80, 0x06), cSYN, a4},
		{"tcp syn ack", v4(6, 0).tcp(80, 1, 0x12), cSYNACK, a4},
		{"tcp rst", v4(6, 0).tcp(80, 1, 0x04), cRST, a4},
		{"tcp rst ack", v4(6, 0).tcp(80, 1, 0x14), cRST, a4},
		{"tcp ack", v4(6, 0).tcp(80, 1, 0x10), cTCPOther, a4},
		{"tcp null", v4(6, 0).tcp(80, 1, 0), cTCPOther, a4},
		{"udp", v4(17, 0).udp(53, 9999, 10), cUDP, a4},
		{"icmp", v4(1, 0).bytes(8), cICMP, a4},
		{"gre", v4(47, 0).bytes(8), cOther, a4},
		{"first fragment", v4(17, 0x2000).udp(53, 9999, 10), cUDP, a4},
		{"later fragment", v4(17, 0x2001).bytes(30), cFragLater, a4},
		{"last fragment", v4(6, 0x00b9).bytes(30), cFragLater, a4},
		{"tcp cut short", v4(6, 0).bytes(13), cOther, a4},
		{"udp cut short", v4(17, 0).bytes(7), cOther, a4},
		{"ip options", options, cSYN, a4},
		{"ip options cut short", cutOptions, cOther, a4},
		{"ah tcp", v4(51, 0).ah(6).tcp(1, 80, 0x02), cSYN, a4},
		{"ah cut short", v4(51, 0).bytes(7), cOther, a4},
		{"vlan", ethernet(0x8100).vlan(0x0800).ipv4(a4, b4, 17, 0).udp(1, 2, 0), cUDP, a4},
		{"vlan tcp", ethernet(0x8100).vlan(0x0800).ipv4(a4, b4, 6, 0).tcp(1, 80, 0x02), cSYN, a4},
		{"vlan 802.1ad tcp", ethernet(0x88a8).vlan(0x0800).ipv4(a4, b4, 6, 0).tcp(1, 80, 0x02), cSYN, a4},
		{"vlan ipv6 tcp", ethernet(0x8100).vlan(0x86dd).ipv6(a6, b6, 6).tcp(1, 80, 0x02), cSYN, "2001:db8:1:2::"},
		{"qinq", ethernet(0x88a8).vlan(0x8100).vlan(0x0800).ipv4(a4, b4, 17, 0).udp(1, 2, 0), cUDP, a4},
		{"old qinq", ethernet(0x9100).vlan(0x8100).vlan(0x0800).ipv4(a4, b4, 17, 0).udp(1, 2, 0), cUDP, a4},
		{"vlan ipv6", ethernet(0x8100).vlan(0x86dd).ipv6(a6, b6, 17).udp(1, 2, 0), cUDP, "2001:db8:1:2::"},
		{"three vlan tags", ethernet(0x8100).vlan(0x8100).vlan(0x8100).vlan(0x0800).ipv4(a4, b4, 17, 0).udp(1, 2, 0), cUDP, a4},
		{"four vlan tags", ethernet(0x8100).vlan(0x8100).vlan(0x8100).vlan(0x8100).vlan(0x0800).ipv4(a4, b4, 17, 0), cNonIP, ""},
		{"vlan cut short", ethernet(0x8100).bytes(2), cMalformed, ""},
		{"arp", ethernet(0x0806).bytes(28), cNonIP, ""},
		{"lldp", ethernet(0x88cc).bytes(28), cNonIP, ""},
		{"llc", ethernet(0x0026).bytes(38), cNonIP, ""},
		{"mpls", ethernet(0x8847).bytes(28), cNonIP, ""},
		{"ipv4 cut short", ethernet(0x0800).bytes(19), cMalformed, ""},
		{"ipv4 without a byte", ethernet(0x0800), cMalformed, ""},
		{"ipv4 bad ihl", badIHL.tcp(1, 2, 2), cMalformed, ""},
		{"ipv4 bad version", badVersion4.tcp(1, 2, 2), cMalformed, ""},
		{"ipv6 bad version", badVersion6.tcp(1, 2, 2), cMalformed, ""},
		{"ipv6 cut short", ethernet(0x86dd).bytes(39), cMalformed, ""},
		{"ipv6 tcp", v6(6).tcp(1, 80, 0x02), cSYN, "2001:db8:1:2::"},
		{"ipv6 icmp", v6(58).bytes(8), cICMP, "2001:db8:1:2::"},
		{"ipv6 hop-by-hop", v6(0).extension(58).bytes(8), cICMP, "2001:db8:1:2::"},
		{"ipv6 chain", v6(0).extension(43).extension(60).extension(51).ah(17).udp(1, 2, 3), cUDP, "2001:db8:1:2::"},
		{"ipv6 ah icmp", v6(51).ah(58).bytes(8), cICMP, "2001:db8:1:2::"},
		{"ipv6 first fragment", v6(44).fragment(17, 0).udp(1, 2, 3), cUDP, "2001:db8:1:2::"},
		{"ipv6 later fragment", v6(44).fragment(17, 185).bytes(9), cFragLater, "2001:db8:1:2::"},
		{"ipv6 extension cut short", v6(0).bytes(5), cOther, "2001:db8:1:2::"},
		{"ipv6 seven extensions", v6(60).extension(60).extension(60).extension(60).extension(60).extension(60).extension(60).extension(17).udp(1, 2, 3), cOther, "2001:db8:1:2::"},
		{"ipv6 link-local", ethernet(0x86dd).ipv6("fe80::1:2", "fe80::3", 58).bytes(8), cICMP, "fe80::1:2"},
		{"ipv6 no next header", v6(59), cOther, "2001:db8:1:2::"},
	}
	r := newRig(t, Config{})
	r.use(1, FilterEnforce)
	for i := range 2 * len(cases) {
		s, c := Slot(i%2), cases[i/2]
		t.Run(fmt.Sprint(c.name, ", frags ", takesFrags(s)), func(t *testing.T) {
			verdict := r.run(s, c.f, 3)
			w := r.drains()[s]
			defer r.Commit()
			want := Window{}
			n, bytes := uint64(3), uint64(3*len(c.f))
			wantVerdict := uint32(xdpPass)
			switch c.class {
			case cNonIP:
				want.NonIP, want.NonIPBytes = n, bytes
			case cMalformed:
				want.Malformed, want.MalformedBytes = n, bytes
				wantVerdict = xdpDrop
			default:
				want.Totals = Counters{Packets: n, Bytes: bytes}
				want.Totals.ByClass[c.class] = n
				if c.class == cUDP {
					want.Totals.UDPBytes = bytes
				}
			}
			if verdict != wantVerdict {
				t.Errorf("verdict %d, want %d", verdict, wantVerdict)
			}
			if w.Totals != want.Totals || w.NonIP != want.NonIP || w.NonIPBytes != want.NonIPBytes ||
				w.Malformed != want.Malformed || w.MalformedBytes != want.MalformedBytes || w.Truncated {
				t.Errorf("got %v\nwant %v", &w, &want)
			}
			var source string
			if w.Sources.Len() == 1 {
				source = w.Sources.At(0).Address.String()
			} else if w.Sources.Len() > 1 {
				t.Errorf("%d sources, want at most one", w.Sources.Len())
			}
			if source != c.source {
				t.Errorf("source %q, want %q", source, c.source)
			}
		})
	}
}
