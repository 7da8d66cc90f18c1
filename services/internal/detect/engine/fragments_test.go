package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
)

// answers is a record with UDP from port 53 to a victim, and later fragments.
func answers(udp, udpSources, frame, later, laterSources uint64) *rates.Record {
	to := netip.MustParseAddr(victim)
	r := record()
	r.Victims = []rates.Target{
		{Destination: to, Class: schemas.ClassUDP, Protocol: 17, Port: 53, Packets10s: udp, Packets1s: udp / 2, Bytes1s: udp / 2 * frame, Sources10s: udpSources, Sources1s: udpSources},
		{Destination: to, Class: schemas.ClassFragLater, Protocol: 17, Packets10s: later, Packets1s: later / 2, Sources10s: laterSources, Sources1s: laterSources},
	}
	r.Window10s = packets{udp: udp, frag: later}.counts()
	r.Sources10s, r.Sources1s = 100, 100
	return r
}

// TestFragmentsCountAsReflected holds each bound of the rule against one packet,
// source or byte too few.
func TestFragmentsCountAsReflected(t *testing.T) {
	const both = "S2 destination=198.51.100.1/32,protocol=udp,source_port=53 drop; S2 destination=198.51.100.1/32,protocol=udp,fragments=later drop"
	for name, c := range map[string]struct {
		r    *rates.Record
		want string
	}{
		"half and half":                           {answers(50, 8, 1514, 50, 4), both},
		"one too few":                             {answers(50, 8, 1514, 49, 4), ""},
		"fragments of three: a file server's":     {answers(50, 8, 1514, 900, 3), ""},
		"answers of seven":                        {answers(50, 7, 1514, 900, 20), ""},
		"small answers, and somebody's fragments": {answers(50, 8, 511, 900, 20), ""},
		"two for each packet and no more":         {answers(33, 8, 1514, 900, 20), ""},
		"three to an answer":                      {answers(34, 8, 1514, 900, 20), both},
		"enough without them":                     {answers(100, 8, 511, 90, 20), strings.Split(both, "; ")[0]},
		"enough, and a file server's":             {answers(100, 8, 511, 900, 3), strings.Split(both, "; ")[0]},
		"enough, and as many fragments":           {answers(100, 8, 511, 100, 4), both},
	} {
		d := newEngine(t).Rates(c.r, now)
		if got := brief(d); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		complete(t, d)
	}
	d := newEngine(t).Rates(answers(50, 8, 1514, 60, 8), now)
	if want := "S2 reflection from amplifiers: 110 udp and their fragments in 10s (≥ 100) from about 8 sources (≥ 8)"; len(d) != 2 || d[0].Reason != want || d[1].Reason != want {
		t.Errorf("said %+v", d)
	}
}

// TestFragmentsOfOthers: those to another victim, or of another protocol, belong
// to no port.
func TestFragmentsOfOthers(t *testing.T) {
	for name, change := range map[string]func(*rates.Target){
		"another victim":   func(v *rates.Target) { v.Destination = netip.MustParseAddr("198.51.100.2") },
		"another protocol": func(v *rates.Target) { v.Protocol = protocolICMP },
	} {
		r := answers(60, 20, 1514, 900, 20)
		change(&r.Victims[1])
		if d := newEngine(t).Rates(r, now); len(d) != 0 {
			t.Errorf("%s: %s", name, brief(d))
		}
	}
}

// TestSharedPortsAskForMoreFragments: where it takes fifty sources, fragments
// must come from half as many.
func TestSharedPortsAskForMoreFragments(t *testing.T) {
	for sources, want := range map[uint64]string{24: "", 25: "S2"} {
		r := answers(60, 50, 1400, 60, sources)
		r.Victims[0].Port = 4500
		if got := strings.SplitN(brief(newEngine(t).Rates(r, now)), " ", 2)[0]; got != want {
			t.Errorf("fragments of %d sources: %q, want %q", sources, got, want)
		}
	}
}

// answering are datagrams of so many frames each, the first from a port, the
// others fragments.
func answering(sport uint16, perSecond, sources, parts int, length uint64, from, to time.Duration, address func(int) netip.Addr) []frame {
	var all [][]frame
	for part := range parts {
		k := kind{from: "45.0.0.1", protocol: 17, class: schemas.ClassUDP, sport: sport, dport: 2222, length: length}
		if part > 0 {
			k.class, k.sport, k.dport = schemas.ClassFragLater, 0, 0
		}
		all = append(all, steady(k, perSecond, from+time.Duration(part)*20*time.Microsecond, to, func(n int, f *frame) { f.source = address(n % sources) }))
	}
	return together(all...)
}

// TestSlowReflections are large answers at a few dozen packets a second, of
// which most are fragments: without these it would take seconds to tell.
func TestSlowReflections(t *testing.T) {
	for name, c := range map[string]struct {
		sport     uint16
		perSecond int
		sources   int
		parts     int
	}{
		"DNS, signed":   {53, 50, 20, 2},
		"DNS, ANY":      {53, 40, 30, 3},
		"CLDAP":         {389, 45, 40, 3},
		"SNMP, bulk":    {161, 45, 25, 12},
		"chargen":       {19, 60, 20, 2},
		"NTP, over UDP": {123, 120, 20, 1}, // which has no fragments
	} {
		rnd := rand.New(rand.NewPCG(7, uint64(c.sport)))
		attack := answering(c.sport, c.perSecond, c.sources, c.parts, 1514, attackFrom, attackTo, reflectors)
		p := newPlayer(t, newEngine(t, netip.MustParsePrefix("192.0.2.103/32")))
		dropped := 0
		p.run(together(append(ordinary(rnd), attack)...), 130*time.Millisecond, attackTo, func(f *frame) {
			if f.source.As4()[0] != 45 {
				t.Errorf("%s: dropped a packet of %v", name, f.source)
			}
			dropped++
		})
		var first time.Duration
		for _, d := range p.decided {
			if d.Rule == "S2" && first == 0 {
				first = d.at - attackFrom
			}
		}
		if first <= 0 || first > 1300*time.Millisecond {
			t.Errorf("%s: decided after %v", name, first)
		}
		if passed := share(len(attack)-dropped, len(attack)); passed > 15 {
			t.Errorf("%s: %.1f %% passed", name, passed)
		}
	}
}

// TestTrapResolverThatAsksForItself has answers of many servers, most of them
// small, some signed and in fragments, beside NFS over UDP.
func TestTrapResolverThatAsksForItself(t *testing.T) {
	server := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 1+i)) }
	spared(t,
		answering(53, 7, 20, 1, 160, 0, long, server),
		answering(53, 1, 20, 2, 1514, 0, long, server),
		answering(2049, 310, 2, 6, 1514, 0, long, func(i int) netip.Addr { return server(200 + i) }))
}

// TestTrapFileServersAndLargeAnswers: a few file servers send fragments by the
// thousand while a resolver that is not configured gets large answers.
func TestTrapFileServersAndLargeAnswers(t *testing.T) {
	server := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 1+i)) }
	spared(t,
		answering(53, 9, 12, 1, 1400, 0, long, server),
		answering(2049, 500, 3, 6, 1514, 0, long, func(i int) netip.Addr { return server(200 + i) }))
}

// TestTrapFileServerBesideAReflection: the attacked host's files come in fragments,
// too, and go on coming.
func TestTrapFileServerBesideAReflection(t *testing.T) {
	server := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", 201+i)) }
	decided, dropped := playAll(t, newEngine(t), together(
		answering(123, 600, 30, 1, 482, attackFrom, attackTo, reflectors),
		answering(2049, 310, 2, 6, 1514, 0, attackTo, server)), attackTo)
	if len(decided) == 0 || decided[0].Rule != "S2" {
		t.Fatalf("decided %+v", decided)
	}
	for i := range 2 {
		if n := dropped[server(i)]; n > 0 {
			t.Errorf("%d packets of file server %d were dropped", n, i)
		}
	}
}

// TestTrapTimeServer answers many who ask from port 123, while a tunnel of
// another kind sends fragments from all over.
func TestTrapTimeServer(t *testing.T) {
	spared(t,
		answering(123, 9, 90, 1, 90, 0, long, anywhere),
		steady(kind{from: "192.0.2.1", protocol: 17, class: schemas.ClassFragLater, length: 1514}, 800, 0, long, func(n int, f *frame) { f.source = anywhere(n % 40) }))
}
