package engine

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// Traps are what real traffic once led a rule astray with. Each is played from
// frames through windows, engine and filter.

const victim = "198.51.100.1"

// kind describes frames of one flow.
type kind struct {
	from, to     string
	protocol     uint8
	class        schemas.Class
	sport, dport uint16
	length       uint64
	flags        uint8
}

func (k kind) frame(at time.Duration) frame {
	to := k.to
	if to == "" {
		to = victim
	}
	return frame{at: at, source: netip.MustParseAddr(k.from), victim: netip.MustParseAddr(to), class: k.class, protocol: k.protocol,
		sport: k.sport, dport: k.dport, length: k.length, flags: k.flags, firstOfTransport: k.sport != 0 || k.dport != 0}
}

// steady is a flow of pps frames a second from one moment to another; vary
// changes the nth one.
func steady(k kind, pps int, from, to time.Duration, vary func(n int, f *frame)) []frame {
	gap := time.Second / time.Duration(pps)
	var out []frame
	for n, at := 0, from; at < to; n, at = n+1, at+gap {
		f := k.frame(at)
		if vary != nil {
			vary(n, &f)
		}
		out = append(out, f)
	}
	return out
}

// together merges flows in the order of time.
func together(all ...[]frame) []frame {
	out := slices.Concat(all...)
	slices.SortStableFunc(out, func(a, b frame) int { return int(a.at - b.at) })
	return out
}

func playAll(t *testing.T, e *Engine, frames []frame, until time.Duration) (decided []played, dropped map[netip.Addr]int) {
	t.Helper()
	dropped = map[netip.Addr]int{}
	p := newPlayer(t, e)
	p.run(frames, 120*time.Millisecond, until, func(f *frame) { dropped[f.source]++ })
	return p.decided, dropped
}

func spared(t *testing.T, frames ...[]frame) {
	t.Helper()
	decided, dropped := playAll(t, newEngine(t), together(frames...), 15*time.Second)
	for _, d := range decided {
		t.Errorf("decided: %s %s", d.Key, d.Reason)
	}
	if len(dropped) > 0 {
		t.Errorf("dropped %v", dropped)
	}
}

const long = 12 * time.Second

func TestTrapGRETunnel(t *testing.T) {
	spared(t, steady(kind{from: "192.0.2.1", protocol: 47, class: schemas.ClassOther, length: 1400}, 566, 0, long, nil))
}

func TestTrapNFSOverUDP(t *testing.T) {
	spared(t,
		steady(kind{from: "192.0.2.1", protocol: 17, class: schemas.ClassFragLater, length: 1514}, 1550, 0, long, nil),
		steady(kind{from: "192.0.2.1", protocol: 17, class: schemas.ClassUDP, sport: 2049, dport: 800, length: 1514}, 310, 0, long, nil))
}

func TestTrapQUICDownload(t *testing.T) {
	spared(t, steady(kind{from: "192.0.2.1", protocol: 17, class: schemas.ClassUDP, sport: 443, dport: 50_000, length: 1292}, 5000, 0, long,
		func(n int, f *frame) { f.dport += uint16(n % 2) }))
}

func TestTrapTFTP(t *testing.T) {
	spared(t, steady(kind{from: "192.0.2.1", protocol: 17, class: schemas.ClassUDP, sport: 40_000, dport: 50_000, length: 558}, 1200, 0, long, nil))
}

func TestTrapBulkTCP(t *testing.T) {
	spared(t,
		steady(kind{from: "192.0.2.1", protocol: 6, class: schemas.ClassTCPOther, sport: 40_000, dport: 445, length: 1514, flags: 0x10}, 9000, 0, long, nil),
		steady(kind{from: "192.0.2.1", protocol: 6, class: schemas.ClassSYN, sport: 40_001, dport: 445, length: 74, flags: 0x02}, 1, 0, long, nil))
}

// TestTrapIPsecGateway is a hub of tunnels: much UDP from ports 4500 and 500 of
// several peers, each on few port pairs.
func TestTrapIPsecGateway(t *testing.T) {
	var all [][]frame
	for i := range 7 {
		from := fmt.Sprintf("192.0.2.%d", i+1)
		all = append(all, steady(kind{from: from, protocol: 17, class: schemas.ClassUDP, sport: 4500, dport: 4500, length: 900}, 700, 0, long, nil),
			steady(kind{from: from, protocol: 17, class: schemas.ClassUDP, sport: 10001, dport: 4500, length: 300}, 5, 0, long, nil))
	}
	spared(t, all...)
}

func TestTrapSourcesThatNobodyHas(t *testing.T) {
	for _, from := range []string{"0.0.0.0", "ff02::1", "fe80::1", "127.0.0.1", "224.0.0.251", "::1", "169.254.7.7"} {
		k := kind{from: from, protocol: 6, class: schemas.ClassSYN, sport: 1000, dport: 80, length: 60, flags: 0x02}
		if netip.MustParseAddr(from).Is6() {
			k.to = "2001:db8::1"
		}
		spared(t, steady(k, 3000, 0, 3*time.Second, nil))
	}
}

// TestTrapICMPv6BehindAuthenticationHeader plays the frame itself: next header
// 51, then the echo.
func TestTrapICMPv6BehindAuthenticationHeader(t *testing.T) {
	b := make([]byte, 14+40+24+8)
	binary.BigEndian.PutUint16(b[12:], 0x86dd)
	ip := b[14:]
	ip[0], ip[6], ip[7] = 0x60, 51, 64
	binary.BigEndian.PutUint16(ip[4:], 32)
	source, destination := netip.MustParseAddr("2001:db8:1::2"), netip.MustParseAddr("2001:db8:2::1")
	copy(ip[8:], source.AsSlice())
	copy(ip[24:], destination.AsSlice())
	ip[40], ip[41] = 58, 4 // ICMPv6 follows; (4+2)·4 bytes
	ip[64] = 128
	f := parseFrame(b)
	if f.class != schemas.ClassICMP || f.protocol != 58 {
		t.Fatalf("parsed as %v of protocol %d", f.class, f.protocol)
	}
	frames := make([]frame, 16_000)
	for i := range frames {
		frames[i] = f
		frames[i].at, frames[i].length = time.Duration(i)*time.Second/4000, uint64(len(b))
	}
	decided, dropped := playAll(t, newEngine(t), frames, 4*time.Second)
	if len(decided) != 1 || decided[0].Rule != "R4" || decided[0].Command.Match.String() != "source=2001:db8:1::/64,protocol=icmpv6" {
		t.Errorf("decided %+v", decided)
	}
	if n := dropped[f.source]; n < 14_000 {
		t.Errorf("%d of 16,000 dropped", n)
	}
}

// TestTrapAttackerAndVictimInOneIPv6Subnet must block an address: the /64 is the
// victim's own.
func TestTrapAttackerAndVictimInOneIPv6Subnet(t *testing.T) {
	neighbour := kind{from: "2001:db8:1:2::bad", to: "2001:db8:1:2::1", protocol: 58, class: schemas.ClassICMP, length: 86}
	good := kind{from: "2001:db8:1:2::600d", to: "2001:db8:1:2::1", protocol: 58, class: schemas.ClassICMP, length: 86}
	decided, dropped := playAll(t, newEngine(t), together(steady(neighbour, 4000, 0, long, nil), steady(good, 5, 0, long, nil)), long)
	if len(decided) != 1 || decided[0].Command.Match.String() != "source=2001:db8:1:2::bad/128,protocol=icmpv6" {
		t.Errorf("decided %+v", decided)
	}
	if dropped[netip.MustParseAddr(good.from)] != 0 {
		t.Error("the neighbour that does nothing was dropped")
	}
}

// TestTrapVictimsOwnAnswers: what the victim of a flood sends is no flood, when
// a mirror port shows it to us.
func TestTrapVictimsOwnAnswers(t *testing.T) {
	answers := steady(kind{from: victim, to: "203.0.113.9", protocol: 6, class: schemas.ClassRST, sport: 80, dport: 1024, length: 60, flags: 0x14}, 9000, 0, 3*time.Second,
		func(n int, f *frame) { f.dport = uint16(n) })
	decided, _ := playAll(t, newEngine(t, netip.MustParsePrefix(victim+"/32")), answers, 4*time.Second)
	if len(decided) > 0 {
		t.Errorf("decided %+v", decided)
	}
}

// TestPulsedAttack is 8 s of a spoofed flood, 14 s of nothing, and 2 s more: one
// lease for both, and the second pulse is stopped from its start.
func TestPulsedAttack(t *testing.T) {
	spoofed := func(n int, f *frame) {
		f.source = netip.AddrFrom4([4]byte{byte(20 + n%160), byte(n >> 3), byte(n >> 11), byte(n)})
		f.sport = uint16(n)
	}
	k := kind{from: "20.0.0.1", protocol: 6, class: schemas.ClassSYN, dport: 25003, length: 60, flags: 0x02}
	first, second := steady(k, 2000, 0, 8*time.Second, spoofed), steady(k, 2000, 22*time.Second, 24*time.Second, spoofed)
	passed := 0
	p := newPlayer(t, newEngine(t))
	p.run(together(first, second), 130*time.Millisecond, 70*time.Second, func(f *frame) {
		if f.at >= 22*time.Second {
			passed--
		}
	})
	passed += len(second)
	changes := 0
	for _, d := range p.decided {
		if d.Step != Renew {
			changes++
		}
		if d.Step == Issue && d.at > time.Second {
			t.Errorf("a second lease after %v", d.at)
		}
	}
	if changes > 2 {
		t.Errorf("%d changes of state, want at most 2", changes)
	}
	if passed > 2*50+20 {
		t.Errorf("%d packets of the second pulse passed a limit of 50/s for 2 s", passed)
	}
}

// TestManyPulses go on for five minutes: the lease stands all the time.
func TestManyPulses(t *testing.T) {
	k := kind{from: "203.0.113.9", protocol: 6, class: schemas.ClassSYN, sport: 1000, dport: 80, length: 60, flags: 0x02}
	var all [][]frame
	for at := time.Duration(0); at < 5*time.Minute; at += 22 * time.Second {
		all = append(all, steady(k, 500, at, at+8*time.Second, nil))
	}
	p := newPlayer(t, newEngine(t))
	dropped := 0
	p.run(together(all...), 130*time.Millisecond, 5*time.Minute, func(*frame) { dropped++ })
	var changes []string
	for _, d := range p.decided {
		if d.Step != Renew {
			changes = append(changes, fmt.Sprintf("%v: %s", d.at, d.Reason))
		}
	}
	if len(changes) > 2 { // a limit of its SYN by the first window, then the source
		t.Errorf("changes %q", changes)
	}
	if sent := len(slices.Concat(all...)); dropped < sent*98/100 {
		t.Errorf("%d of %d dropped", dropped, sent)
	}
}

// TestCarriersNAT: one customer of many behind an address floods; the others go
// on.
func TestCarriersNAT(t *testing.T) {
	const nat = "192.0.2.44"
	customers := together(
		steady(kind{from: nat, protocol: 6, class: schemas.ClassTCPOther, dport: 443, length: 600, flags: 0x10}, 900, 0, 30*time.Second, func(n int, f *frame) { f.sport = uint16(1024 + n%100) }),
		steady(kind{from: nat, protocol: 6, class: schemas.ClassSYN, dport: 443, length: 74, flags: 0x02}, 30, 0, 30*time.Second, func(n int, f *frame) { f.sport = uint16(2048 + n) }))
	for name, flood := range map[string][]frame{
		"SYN":  steady(kind{from: nat, protocol: 6, class: schemas.ClassSYN, sport: 999, dport: 443, length: 60, flags: 0x02}, 3000, 15*time.Second, 30*time.Second, nil),
		"UDP":  steady(kind{from: nat, protocol: 17, class: schemas.ClassUDP, sport: 999, dport: 443, length: 60}, 3000, 15*time.Second, 30*time.Second, nil),
		"ICMP": steady(kind{from: nat, protocol: 1, class: schemas.ClassICMP, length: 60}, 3000, 15*time.Second, 30*time.Second, nil),
	} {
		hurt, stopped := 0, 0
		p := newPlayer(t, newEngine(t))
		p.run(together(customers, flood), 130*time.Millisecond, 30*time.Second, func(f *frame) {
			if f.class == schemas.ClassTCPOther {
				hurt++
			}
			if f.sport == 999 || f.class == schemas.ClassICMP {
				stopped++
			}
		})
		if len(p.decided) == 0 || hurt > 0 {
			t.Errorf("%s: %d decisions, %d packets of established connections dropped", name, len(p.decided), hurt)
		}
		for _, d := range p.decided {
			if d.Command.Action == commands.Drop && d.Command.Match.Protocol == 0 {
				t.Errorf("%s: dropped: %s", name, d.Reason)
			}
		}
		if stopped < len(flood)*3/4 {
			t.Errorf("%s: %d of %d packets of the flood were dropped", name, stopped, len(flood))
		}
	}
}
