package engine

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
)

// madeVictim is who made captures are about.
var madeVictim = netip.MustParseAddr("198.51.100.80")

// made are captures of our own making, for machines that have no real ones:
// floods of the kinds that the rules are about, and the clients of a web server.
func made() (labels map[string]*captureLabel, captures map[string][]frame) {
	labels, captures = map[string]*captureLabel{}, map[string][]frame{}
	benign := &captureLabel{Category: "benign-web", Expected: "none"}
	labels["made-web"], captures["made-web"] = benign, madeClients()
	one := netip.MustParseAddr("203.0.113.9")
	single := func(int, *rand.Rand) netip.Addr { return one }
	among := func(n int) func(int, *rand.Rand) netip.Addr {
		return func(i int, _ *rand.Rand) netip.Addr {
			return netip.AddrFrom4([4]byte{11, byte(i % n >> 8), byte(i % n), 1})
		}
	}
	spoofed := func(_ int, r *rand.Rand) netip.Addr {
		return netip.AddrFrom4([4]byte{12, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
	}
	for _, a := range []struct {
		name, expected string
		source         func(i int, r *rand.Rand) netip.Addr
		like           frame // of one packet; a port that is 0 differs from packet to packet
	}{
		{"syn-of-one", "block", single, frame{class: schemas.ClassSYN, protocol: 6, dport: 80, flags: 2, length: 60}},
		{"udp-of-one", "block", single, frame{class: schemas.ClassUDP, protocol: protocolUDP, length: 90}},
		{"pings-of-one", "block", single, frame{class: schemas.ClassICMP, protocol: 1, length: 98}},
		{"syn-spoofed", "signature", spoofed, frame{class: schemas.ClassSYN, protocol: 6, dport: 80, flags: 2, length: 60}},
		{"dns-amplified", "signature", among(200), frame{class: schemas.ClassUDP, protocol: protocolUDP, sport: 53, length: 1400}},
		{"udp-reflected", "signature", among(300), frame{class: schemas.ClassUDP, protocol: protocolUDP, sport: 9999, length: 400}},
		{"tcp-reflected", "signature", among(1000), frame{class: schemas.ClassSYNACK, protocol: 6, sport: 443, flags: 0x12, length: 60}},
	} {
		l := &captureLabel{Category: "attack-made", Expected: a.expected, Attackers: json.RawMessage(`"every packet"`)}
		if a.expected == "block" {
			l.Attackers = json.RawMessage(fmt.Sprintf("[%q]", one))
		}
		labels["made-"+a.name], captures["made-"+a.name] = l, madeFlood(a.like, a.source)
	}
	return labels, captures
}

// madeFlood is 5 s of 4,000 packets per second.
func madeFlood(like frame, source func(int, *rand.Rand) netip.Addr) []frame {
	r := rand.New(rand.NewPCG(1, 1))
	out := make([]frame, 20_000)
	for i := range out {
		f := like
		f.at, f.source, f.victim, f.firstOfTransport = time.Duration(i)*250*time.Microsecond, source(i, r), madeVictim, like.protocol != 1
		if f.sport == 0 {
			f.sport = uint16(1024 + r.IntN(60_000))
		}
		if f.dport == 0 {
			f.dport = uint16(1024 + r.IntN(60_000))
		}
		out[i] = f
	}
	return out
}

// madeClients is a minute of 60 clients that fetch a page every two seconds or
// so, of a resolver's answers, and of a monitor's pings.
func madeClients() []frame {
	r := rand.New(rand.NewPCG(2, 2))
	var out []frame
	add := func(at time.Duration, source netip.Addr, like frame) {
		like.at, like.source, like.victim, like.firstOfTransport = at, source, madeVictim, like.protocol != 1
		out = append(out, like)
	}
	for c := range 60 {
		client := netip.AddrFrom4([4]byte{192, 0, 2, byte(c + 1)})
		for at := time.Duration(r.IntN(2000)) * time.Millisecond; at < time.Minute; at += time.Duration(1000+r.IntN(2000)) * time.Millisecond {
			port := uint16(30_000 + r.IntN(20_000))
			add(at, client, frame{class: schemas.ClassSYN, protocol: 6, sport: port, dport: 80, flags: 2, length: 74})
			for i := range 12 {
				add(at+time.Duration(i+1)*20*time.Millisecond, client, frame{class: schemas.ClassTCPOther, protocol: 6, sport: port, dport: 80, flags: 0x10, length: 200})
			}
		}
	}
	for at := time.Duration(0); at < time.Minute; at += time.Second {
		add(at, netip.MustParseAddr("192.0.2.200"), frame{class: schemas.ClassICMP, protocol: 1, length: 98})
		// Few, since nobody protects them here, and a flood off DNS servers takes them along.
		if at%(5*time.Second) == 0 {
			add(at, netip.MustParseAddr("192.0.2.53"), frame{class: schemas.ClassUDP, protocol: protocolUDP, sport: 53, dport: uint16(1024 + r.IntN(60_000)), length: 180})
		}
	}
	slices.SortStableFunc(out, func(a, b frame) int { return int(a.at - b.at) })
	return out
}

// TestMadeCapturesAreJudged plays a flood as if it were expected to be harmless,
// and clients as if they were a flood: the judge must object to both.
func TestMadeCapturesAreJudged(t *testing.T) {
	labels, captures := made()
	for name, wrongly := range map[string]string{"made-syn-spoofed": "none", "made-udp-of-one": "signature", "made-web": "block"} {
		l := *labels[name]
		l.Expected = wrongly
		o := play(t, &l, captures[name], 20*time.Millisecond)
		if len(o.judge(&l)) == 0 {
			t.Errorf("%s passes as %s: %v", name, wrongly, o.rules)
		}
	}
}
