package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// The captures are a few of many. Here are attacks of the same kinds that were
// made up, over made-up ordinary traffic, so that no rule fits a file alone.

const (
	attackFrom = 5 * time.Second
	attackTo   = 15 * time.Second
)

// ordinary is what a small server sees: browsers, a download by QUIC, a bulk
// transfer, a resolver's answers and pings.
func ordinary(rnd *rand.Rand) [][]frame {
	var all [][]frame
	for i := range 12 {
		from := fmt.Sprintf("192.0.2.%d", i+1)
		offset := time.Duration(rnd.IntN(400)) * time.Millisecond
		all = append(all, connections(from, "", 3, 7+rnd.IntN(4), offset, attackTo, rnd))
	}
	return append(all,
		steady(kind{from: "192.0.2.101", protocol: 17, class: schemas.ClassUDP, sport: 443, dport: 50_000, length: 1292}, 2500, 0, attackTo, nil),
		steady(kind{from: "192.0.2.102", protocol: 6, class: schemas.ClassTCPOther, sport: 40_000, dport: 445, length: 1514, flags: 0x10}, 2000, 0, attackTo, nil),
		steady(kind{from: "192.0.2.103", protocol: 17, class: schemas.ClassUDP, sport: 53, dport: 50_000, length: 180}, 30, 0, attackTo, nil),
		steady(kind{from: "192.0.2.104", protocol: 1, class: schemas.ClassICMP, length: 98}, 1, 0, attackTo, nil))
}

// connections opens so many a second, each of so many packets within a tenth of
// a second.
func connections(from, to string, perSecond, packets int, start, end time.Duration, rnd *rand.Rand) []frame {
	var out []frame
	for at := start; at < end; at += time.Second / time.Duration(perSecond) {
		port := uint16(1024 + rnd.IntN(60_000))
		for i := range packets {
			k := kind{from: from, to: to, protocol: 6, class: schemas.ClassTCPOther, sport: port, dport: 80, length: 120, flags: 0x10}
			if i == 0 {
				k.class, k.length, k.flags = schemas.ClassSYN, 74, 0x02
			}
			out = append(out, k.frame(at+time.Duration(i)*100*time.Millisecond/time.Duration(packets)))
		}
	}
	return out
}

// spread sends from many sources in turn.
func spread(k kind, pps, sources int, address func(i int) netip.Addr) []frame {
	return steady(k, pps, attackFrom, attackTo, func(n int, f *frame) { f.source = address(n % sources) })
}

func anywhere(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(20 + i%97), byte(i * 7), byte(i >> 8), byte(i * 31)})
}

func reflectors(i int) netip.Addr { return netip.AddrFrom4([4]byte{45, byte(i * 3), byte(i * 5), 53}) }

// TestBusyServers have many clients, each with a connection now and then, and
// nothing of it is an attack.
func TestBusyServers(t *testing.T) {
	for _, perSecond := range []int{100, 400, 1000} {
		rnd := rand.New(rand.NewPCG(uint64(perSecond), 2))
		clients := connections("192.0.2.1", "", perSecond, 8, 0, attackTo, rnd)
		n := 0
		for i := range clients { // a client each
			if clients[i].class == schemas.ClassSYN {
				n++
			}
			clients[i].source = anywhere(n % 5000)
		}
		decided, dropped := playAll(t, newEngine(t), clients, attackTo)
		if len(decided) > 0 || len(dropped) > 0 {
			t.Errorf("%d connections a second: %d decisions, the first one %q", perSecond, len(decided), decided[0].Reason)
		}
		// A flood over it is one.
		flood := spread(kind{from: "20.0.0.1", protocol: 6, class: schemas.ClassSYN, sport: 9, dport: 80, length: 60, flags: 0x02}, 4000, 100_000, anywhere)
		p := newPlayer(t, newEngine(t))
		p.run(together(clients, flood), 100*time.Millisecond, attackTo, nil)
		if len(p.decided) == 0 || p.decided[0].Rule != "S1" || p.decided[0].at > attackFrom+time.Second {
			t.Errorf("%d connections a second, and a flood: %+v", perSecond, p.decided)
		}
	}
}

// The kinds have twenty reflectors and more: of fewer, the estimate over 64 bits
// may be below the rule's eight.
func TestAttacksOfTheSameKinds(t *testing.T) {
	syn := kind{from: "203.0.113.9", protocol: 6, class: schemas.ClassSYN, sport: 1000, dport: 443, length: 60, flags: 0x02}
	udp := func(sport uint16, length uint64) kind {
		return kind{from: "203.0.113.9", protocol: 17, class: schemas.ClassUDP, sport: sport, dport: 2222, length: length}
	}
	fragments := kind{from: "203.0.113.9", protocol: 17, class: schemas.ClassFragLater, length: 1514}
	one := func(k kind, pps int) []frame { return steady(k, pps, attackFrom, attackTo, nil) }
	type attack struct {
		name, rule string
		signature  bool
		passes     float64 // percent, at most
		frames     func(rnd *rand.Rand) []frame
	}
	cases := []attack{
		{"SYN with ECE and CWR", "R1", false, 15, func(*rand.Rand) []frame { k := syn; k.flags = 0xc2; return one(k, 250) }},
		{"spoofed SYN to one port", "S1", true, 15, func(*rand.Rand) []frame { return spread(syn, 900, 100_000, anywhere) }},
		{"spoofed SYN to random ports", "S1", true, 10, func(rnd *rand.Rand) []frame {
			f := spread(syn, 3000, 100_000, anywhere)
			for i := range f {
				f[i].dport = uint16(rnd.Uint32())
			}
			return f
		}},
		{"spoofed SYN over IPv6", "S1", true, 10, func(*rand.Rand) []frame {
			k := syn
			k.from, k.to = "2001:db8::", "2001:db8:ffff::1"
			return spread(k, 2000, 100_000, func(i int) netip.Addr {
				return netip.AddrFrom16([16]byte{0x24, 0, byte(i >> 16), byte(i >> 8), byte(i), 1})
			})
		}},
		{"DNS reflection in fragments", "S2", true, 10, func(*rand.Rand) []frame {
			return together(spread(udp(53, 1514), 500, 60, reflectors), spread(fragments, 1000, 60, reflectors))
		}},
		{"NTP reflection", "S2", true, 10, func(*rand.Rand) []frame { return spread(udp(123, 482), 700, 20, reflectors) }},
		{"memcached reflection", "S2", true, 10, func(*rand.Rand) []frame { return spread(udp(11211, 1442), 3000, 20, reflectors) }},
		{"reflection off a game", "S3", true, 10, func(*rand.Rand) []frame { return spread(udp(28960, 900), 2500, 150, reflectors) }},
		{"reflection off TCP servers", "S4", true, 20, func(*rand.Rand) []frame {
			k := syn
			k.class, k.flags, k.sport, k.dport = schemas.ClassSYNACK, 0x12, 443, 80
			return spread(k, 900, 250, reflectors)
		}},
		{"UDP to random ports", "R3", false, 12, func(rnd *rand.Rand) []frame {
			return steady(udp(4000, 1000), 2000, attackFrom, attackTo, func(_ int, f *frame) { f.dport = uint16(rnd.Uint32()) })
		}},
		{"small UDP", "R3", false, 12, func(*rand.Rand) []frame { return one(udp(4000, 60), 2000) }},
		{"ping", "R4", false, 12, func(*rand.Rand) []frame {
			return one(kind{from: "203.0.113.9", protocol: 1, class: schemas.ClassICMP, length: 98}, 600)
		}},
		{"fragments", "R5", false, 25, func(*rand.Rand) []frame { return one(fragments, 4000) }},
		{"connections of ten bots", "R2", false, 100, func(rnd *rand.Rand) []frame {
			var all [][]frame
			for i := range 10 {
				all = append(all, connections(fmt.Sprintf("203.0.113.%d", 20+25*i), "", 20, 4, attackFrom, attackTo, rnd))
			}
			return together(all...)
		}},
		{"connections that are held", "R2", false, 100, func(*rand.Rand) []frame {
			return together(steady(syn, 100, attackFrom, attackFrom+2*time.Second, func(n int, f *frame) { f.sport = uint16(n) }),
				steady(kind{from: "203.0.113.9", protocol: 6, class: schemas.ClassTCPOther, sport: 1000, dport: 443, length: 70, flags: 0x18}, 40, attackFrom, attackTo, nil))
		}},
		{"a botnet in one network", "P1", false, 12, func(*rand.Rand) []frame {
			return spread(syn, 6000, 24, func(i int) netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(10 + i)}) })
		}},
	}
	for seed, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(uint64(seed), 1))
			attack := c.frames(rnd)
			attackers, innocents := map[netip.Addr]bool{}, 0
			for i := range attack {
				attackers[attack[i].source] = true
			}
			benign := together(ordinary(rnd)...)
			dropped := 0
			p := newPlayer(t, newEngine(t, netip.MustParsePrefix("192.0.2.103/32"))) // its resolver
			p.run(together(benign, attack), time.Duration(rnd.IntN(250))*time.Millisecond, attackTo, func(f *frame) {
				if attackers[f.source] {
					dropped++
				} else {
					innocents++
				}
			})
			within := 1500 * time.Millisecond
			if c.rule == "R2" {
				within = 3500 * time.Millisecond // twenty a second and bot take three to be sixty
			}
			var first time.Duration
			for _, d := range p.decided {
				if d.Step == Issue && d.Rule == c.rule && first == 0 {
					first = d.at - attackFrom
				}
				if m := d.Command.Match; d.Step == Issue && d.Command.Action != commands.Allow && m.Source.IsValid() && (c.signature || !m.Source.Contains(netip.MustParseAddr("203.0.113.9")) && !attackers[m.Source.Addr()]) {
					t.Errorf("a lease on %v: %s", m.Source, d.Reason)
				}
			}
			if first <= 0 || first > within {
				t.Errorf("%s after %v", c.rule, first)
			}
			if innocents > 0 {
				t.Errorf("%d packets of others dropped", innocents)
			}
			if passed := share(len(attack)-dropped, len(attack)); passed > c.passes {
				t.Errorf("%.1f %% of %d packets passed, want at most %.0f %%", passed, len(attack), c.passes)
			}
		})
	}
}
