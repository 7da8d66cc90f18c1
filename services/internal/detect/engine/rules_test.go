package engine

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// withRules is an engine with the embedded rules and more YAML after them.
func withRules(t *testing.T, more string) *Engine {
	t.Helper()
	r, err := rules.Parse("rules.yaml", []byte(string(rules.Defaults())+more))
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Rules: r})
}

// brief says what decisions do: "R1 203.0.113.9/32 drop".
func brief(all []Decision) string {
	var out []string
	for _, d := range all {
		switch {
		case d.Step == Issue || d.Step == Renew:
			s := d.Rule + " " + d.Command.Match.String() + " " + string(d.Command.Action)
			if d.Command.Rate != nil {
				s += fmt.Sprintf(" %d", d.Command.Rate.PPS)
			}
			out = append(out, s)
		default:
			out = append(out, fmt.Sprintf("%s step %d", d.Rule, d.Step))
		}
	}
	return strings.Join(out, "; ")
}

// complete checks that decisions say what they are made of.
func complete(t *testing.T, all []Decision) {
	t.Helper()
	for _, d := range all {
		if d.Rule == "" || d.Threshold <= 0 || d.Measured < d.Threshold || d.Window <= 0 || d.Interface != "h/eth0" || d.Reason == "" {
			t.Errorf("incomplete: %+v", d)
		}
		if ev := d.Evidence; ev == nil || ev.Rule != d.Rule || ev.Measured != d.Measured || ev.Seq != 9 || ev.Offset != 77 || ev.Partition != 3 {
			t.Errorf("evidence %+v", ev)
		}
		if d.Step.Writes() {
			if _, _, err := commands.Encode(d.Command); err != nil {
				t.Errorf("the command cannot be written: %v", err)
			}
		}
	}
}

func TestFragmentFlood(t *testing.T) {
	e := newEngine(t)
	d := e.Rates(record(source("203.0.113.9", packets{udp: 300, udpBytes: 400_000, frag: 2000}, packets{}, 1)), now)
	if len(d) != 1 || brief(d) != "R5 source=203.0.113.9/32,fragments=later rate-limit 200" {
		t.Fatalf("got %s", brief(d))
	}
	complete(t, d)
}

func TestFloodOfAnotherKind(t *testing.T) {
	gre := rates.Target{Destination: netip.MustParseAddr("198.51.100.1"), Class: schemas.ClassOther, Protocol: 47, Packets1s: 60_000}
	for name, c := range map[string]struct {
		s    rates.Source
		want string
	}{
		"RST":                {source("203.0.113.9", packets{rst: 50_000}, packets{}, 1), "R6 source=203.0.113.9/32,protocol=tcp,tcp_flags=rst+!syn rate-limit 1000"},
		"GRE":                {source("203.0.113.9", packets{other: 50_000}, packets{}, 1), "R6 source=203.0.113.9/32,protocol=gre rate-limit 1000"},
		"established TCP":    {source("203.0.113.9", packets{tcp: 50_000}, packets{}, 1), "R6 step 4"},
		"a little less":      {source("203.0.113.9", packets{other: 49_999}, packets{}, 1), ""},
		"big UDP of one app": {source("203.0.113.9", packets{udp: 50_000, udpBytes: 70_000_000}, packets{}, 1), "R6 source=203.0.113.9/32,protocol=udp rate-limit 1000"},
	} {
		r := record(c.s)
		r.Victims = []rates.Target{gre}
		e := newEngine(t)
		d := e.Rates(r, now)
		if got := brief(d); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
		complete(t, d)
		if again := e.Rates(r, now.Add(250*time.Millisecond)); len(again) != 0 {
			t.Errorf("%s: decided again: %s", name, brief(again))
		}
	}
}

// TestHalfOfTheLink needs five seconds of more than half of a link whose rate is
// known.
func TestHalfOfTheLink(t *testing.T) {
	s := source("203.0.113.9", packets{other: 4000}, packets{}, 1)
	s.Window1s.Bytes = 6_000_000 // 48 Mbit/s
	r := record(s)
	r.Victims = []rates.Target{{Destination: netip.MustParseAddr("198.51.100.1"), Class: schemas.ClassOther, Protocol: 47, Packets1s: 4000}}
	first := func(e *Engine, skip int) time.Duration {
		for i := range 40 {
			at := now.Add(time.Duration(i) * 250 * time.Millisecond)
			if i == skip {
				continue
			}
			r.End = at
			x := *r
			if skip > 0 && i >= skip-8 && i <= skip {
				x.Top = nil // a break of two seconds
			}
			if d := e.Rates(&x, at); len(d) > 0 {
				if d[0].Rule != "R6" || d[0].Measured < 0.47 || d[0].Threshold != 0.4 {
					t.Errorf("decided %+v", d[0])
				}
				return at.Sub(now)
			}
		}
		return -1
	}
	const link = "link: 100000000\noverrides:\n  - set: {sources: [{id: R6, any: [{metric: link_share, at_least: 0.4, for: 5s}]}]}\n"
	if at := first(withRules(t, link), -1); at != 5*time.Second {
		t.Errorf("decided after %v, want 5s", at)
	}
	if at := first(withRules(t, link), 16); at < 9*time.Second {
		t.Errorf("with a break decided after %v", at)
	}
	if at := first(newEngine(t), -1); at != -1 {
		t.Errorf("without a known link decided after %v", at)
	}
}

// reflected is n SYN-ACKs from as many servers, of whom some also send more.
func reflected(n int, talking int) *rates.Record {
	r := record()
	r.Window1s, r.Window10s = packets{synack: uint64(n)}.counts(), packets{synack: uint64(n)}.counts()
	r.SYNACKSources1s, r.Sources1s = uint64(n), uint64(n)
	dst := netip.MustParseAddr("198.51.100.1")
	r.Victims = []rates.Target{
		{Destination: dst, Class: schemas.ClassSYNACK, Protocol: 6, Port: 443, Packets1s: uint64(n), Packets10s: uint64(n), Sources1s: 250, Sources10s: 250},
		{Destination: dst, Class: schemas.ClassRST, Protocol: 6, Packets1s: 120, Packets10s: 120, Sources1s: 100, Sources10s: 100},
	}
	for i := range 100 {
		p := packets{synack: 3}
		if i < talking {
			p.tcp = 9
		}
		r.Top = append(r.Top, source(fmt.Sprintf("11.0.%d.1", i), p, p, 1))
	}
	return r
}

func TestReflectionOffTCPServers(t *testing.T) {
	e := newEngine(t)
	d := e.Rates(reflected(400, 0), now)
	want := "S4 destination=198.51.100.1/32,protocol=tcp,source_port=443,tcp_flags=syn+ack rate-limit 50; " +
		"S4 destination=198.51.100.1/32,protocol=tcp,tcp_flags=rst+!syn rate-limit 50"
	if got := brief(d); got != want {
		t.Errorf("got %s", got)
	}
	complete(t, d)
	if d := newEngine(t).Rates(reflected(299, 0), now); len(d) != 0 {
		t.Errorf("299 packets: %s", brief(d))
	}
	// A crawler opens many connections: the servers go on talking.
	if d := newEngine(t).Rates(reflected(400, 60), now); len(d) != 0 {
		t.Errorf("a crawler: %s", brief(d))
	}
}

func TestReflectionFromSharedPorts(t *testing.T) {
	for _, c := range []struct {
		port             uint16
		packets, sources uint64
		want             string
	}{
		{443, 100, 49, ""}, {443, 100, 50, "S2"}, {443, 99, 50, ""}, {53, 100, 8, "S2"}, {53, 100, 7, ""}, {53, 99, 8, ""}, {8000, 200, 60, ""},
	} {
		r := record()
		r.Victims = []rates.Target{{Destination: netip.MustParseAddr("198.51.100.1"), Class: schemas.ClassUDP, Protocol: 17, Port: c.port,
			Packets10s: c.packets, Packets1s: 20, Sources10s: c.sources, Sources1s: c.sources}}
		r.Window10s = packets{udp: c.packets}.counts()
		r.Sources10s, r.Sources1s = 100, 100
		d := newEngine(t).Rates(r, now)
		if got := strings.SplitN(brief(d), " ", 2)[0]; got != c.want {
			t.Errorf("port %d, %d sources: %q, want %q", c.port, c.sources, brief(d), c.want)
		}
		complete(t, d)
	}
}

// network is a record of n flooding sources and quiet healthy ones in one /24.
func botnet(prefix string, n, healthy int) *rates.Record {
	r := record()
	for i := range n {
		r.Top = append(r.Top, source(fmt.Sprintf(prefix, i+1), packets{syn: 200}, packets{syn: 200}, 1))
	}
	for i := range healthy {
		r.Top = append(r.Top, source(fmt.Sprintf(prefix, i+101), packets{syn: 1, tcp: 20}, packets{syn: 5, tcp: 200}, 1))
	}
	return r
}

func TestManyAttackersInOneNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		r    *rates.Record
		want string // of P1
	}{
		"eight of nine":      {botnet("203.0.113.%d", 8, 1), "P1 203.0.113.0/24 rate-limit 100"},
		"seven":              {botnet("203.0.113.%d", 7, 0), ""},
		"half of the active": {botnet("203.0.113.%d", 8, 8), ""},
		"IPv6":               {botnet("2001:db8:7:%d::", 8, 0), "P1 2001:db8:7::/48 rate-limit 100"},
	} {
		e := newEngine(t)
		d := e.Rates(c.r, now)
		complete(t, d)
		var got []Decision
		for _, x := range d {
			if x.Rule == "P1" {
				got = append(got, x)
			}
		}
		if brief(got) != c.want {
			t.Errorf("%s: got %q, want %q", name, brief(got), c.want)
		}
		if again := e.Rates(c.r, now.Add(time.Second)); len(again) != 0 {
			t.Errorf("%s: decided again: %s", name, brief(again))
		}
	}
	e := newEngine(t)
	own := botnet("2001:db8:7:1::%d", 9, 0)
	own.Victims = []rates.Target{{Destination: netip.MustParseAddr("2001:db8:7:1::fe"), Class: schemas.ClassSYN, Packets1s: 5}}
	for _, d := range e.Rates(own, now) {
		if d.Rule == "P1" {
			t.Errorf("the victim's own network: %s", d.Reason)
		}
	}
	e = newEngine(t, netip.MustParsePrefix("203.0.113.200/32"))
	for _, d := range e.Rates(botnet("203.0.113.%d", 9, 0), now) {
		if d.Rule == "P1" {
			t.Errorf("a network with a protected address: %s", d.Reason)
		}
	}
}

// TestAttackersOfOneNetworkInTurn come one every five seconds: eight in 40 s.
func TestAttackersOfOneNetworkInTurn(t *testing.T) {
	for _, c := range []struct {
		every time.Duration
		want  int
	}{{5 * time.Second, 1}, {10 * time.Second, 0}} {
		e, found := newEngine(t), 0
		for i := range 12 {
			at := now.Add(time.Duration(i) * c.every)
			r := record(source(fmt.Sprintf("203.0.113.%d", i+1), packets{syn: 200}, packets{syn: 200}, 1))
			r.End = at
			for _, d := range e.Rates(r, at) {
				if d.Rule == "P1" {
					found++
				}
			}
		}
		if found != c.want {
			t.Errorf("one every %v: %d decisions on the network, want %d", c.every, found, c.want)
		}
	}
}

func TestNetworkIsDroppedAfterTwoRenewals(t *testing.T) {
	e := newEngine(t)
	d := e.Rates(botnet("203.0.113.%d", 8, 0), now)
	key := d[len(d)-1].Key
	var drops uint64
	out, at := drive(e, key, now, 170, 500, &drops)
	var actions []commands.Action
	for _, x := range out {
		if x.Step == Renew && x.Key == key {
			actions = append(actions, x.Command.Action)
		}
	}
	if len(actions) < 3 || actions[0] != commands.RateLimit || actions[1] != commands.RateLimit || actions[2] != commands.Drop {
		t.Fatalf("renewals %v, want two limits and then drops", actions)
	}
	// A ninth source needs no lease of its own.
	r := record(source("203.0.113.77", packets{syn: 200}, packets{syn: 200}, 1))
	r.End = at
	if d := e.Rates(r, at); len(d) != 0 {
		t.Errorf("a lease inside a dropped network: %s", brief(d))
	}
}

// quietly plays minutes of a usual record, once a second.
func quietly(e *Engine, at time.Time, span time.Duration, r *rates.Record) time.Time {
	for end := at.Add(span); at.Before(end); at = at.Add(time.Second) {
		r.End = at
		e.Rates(r, at)
	}
	return at
}

func TestUnusualTrafficIsToldAndNothingElse(t *testing.T) {
	usual := record(source("192.0.2.7", packets{tcp: 400}, packets{tcp: 4000}, 1))
	usual.Window1s = packets{tcp: 400, other: 50}.counts()
	loud := *usual
	loud.Window1s = packets{tcp: 400, other: 5000}.counts()
	loud.Start = now.Add(-time.Second)
	loud.Victims = []rates.Target{{Destination: netip.MustParseAddr("198.51.100.9"), Class: schemas.ClassOther, Protocol: 47, Packets1s: 4900}}

	e := newEngine(t)
	at := quietly(e, now, 11*time.Minute, usual)
	var got []Decision
	var first time.Duration
	for i := range 120 {
		now := at.Add(time.Duration(i) * 250 * time.Millisecond)
		loud.Start, loud.End = now.Add(-time.Second), now
		if d := e.Rates(&loud, now); len(d) > 0 {
			first = now.Sub(at)
			got = append(got, d...)
		}
	}
	if len(got) != 1 || got[0].Step != Alert || got[0].Rule != "S5" || !strings.Contains(got[0].Reason, "198.51.100.9") || first != 3*time.Second {
		t.Errorf("after %v: %+v", first, got)
	}
	complete(t, got)

	// An interface that is not known yet, and one where a lease explains it.
	if d := newEngine(t).Rates(&loud, loud.End); len(d) != 0 {
		t.Errorf("without a baseline: %s", brief(d))
	}
	e = newEngine(t)
	at = quietly(e, now, 11*time.Minute, usual)
	flood := *usual
	flood.Window1s = packets{syn: 5000}.counts()
	flood.Top = []rates.Source{source("203.0.113.9", packets{syn: 4900}, packets{syn: 4900}, 1)}
	for i := range 40 {
		now := at.Add(time.Duration(i) * 250 * time.Millisecond)
		flood.End = now
		for _, d := range e.Rates(&flood, now) {
			if d.Step == Alert {
				t.Errorf("a lease explains it: %s", d.Reason)
			}
		}
	}
}

// TestConnectionsAtAnUnusualRate: a page of 8 kB takes a client some seven
// packets, so that no share of SYN tells.
func TestConnectionsAtAnUnusualRate(t *testing.T) {
	usual := record(crowdOf(20, packets{syn: 1, tcp: 6})...)
	usual.Window1s = packets{syn: 10, tcp: 60}.counts()
	pages := func(a string, at time.Time) *rates.Record {
		r := record(source(a, packets{syn: 60, tcp: 360}, packets{syn: 600, tcp: 3600}, 60))
		r.Window1s, r.Window10s, r.End = packets{syn: 70, tcp: 420}.counts(), packets{syn: 700, tcp: 4200}.counts(), at
		return r
	}
	e := newEngine(t)
	at := quietly(e, now, 11*time.Minute, usual)
	d := e.Rates(pages("203.0.113.9", at), at)
	if got := brief(d); got != "R7 source=203.0.113.9/32,protocol=tcp,tcp_flags=syn+!ack rate-limit 50" {
		t.Errorf("a stranger: %q", got)
	}
	complete(t, d)
	e = newEngine(t)
	at = quietly(e, now, 11*time.Minute, usual)
	if d := e.Rates(pages(usual.Top[0].Source.String(), at), at); len(d) != 0 {
		t.Errorf("one of the quiet hours: %s", brief(d))
	}
	if d := newEngine(t).Rates(pages("203.0.113.9", now), now); len(d) != 0 {
		t.Errorf("without a baseline: %s", brief(d))
	}
	e = newEngine(t)
	usual.Window1s = packets{syn: 40, tcp: 300}.counts()
	at = quietly(e, now, 11*time.Minute, usual)
	if d := e.Rates(pages("203.0.113.9", at), at); len(d) != 0 {
		t.Errorf("on a busy interface: %s", brief(d))
	}
}

func TestReflectionFromOnePort(t *testing.T) {
	for _, c := range []struct {
		packets, sources uint64
		want             string
	}{{500, 50, "S3 destination=198.51.100.1/32,protocol=udp,source_port=8000 drop"}, {499, 50, ""}, {500, 49, ""}} {
		r := record()
		r.Victims = []rates.Target{{Destination: netip.MustParseAddr("198.51.100.1"), Class: schemas.ClassUDP, Protocol: 17, Port: 8000,
			Packets1s: c.packets, Packets10s: c.packets, Sources1s: c.sources, Sources10s: c.sources}}
		r.Window1s, r.Window10s = packets{udp: c.packets}.counts(), packets{udp: c.packets}.counts()
		r.Sources1s, r.Sources10s = 100, 100
		d := newEngine(t).Rates(r, now)
		if got := brief(d); got != c.want {
			t.Errorf("%d packets of %d sources: %q", c.packets, c.sources, got)
		}
		complete(t, d)
	}
}

// FuzzRates: every decision can be written, whatever a record says: hostile and odd ones
// too.
func FuzzRates(f *testing.F) {
	f.Add(uint64(1), uint16(443), uint8(0), uint64(500), uint64(300), true)
	f.Add(uint64(0xffffffff), uint16(0), uint8(7), uint64(1)<<40, uint64(0), false)
	r, err := embedded()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, a uint64, port uint16, class uint8, n, m uint64, six bool) {
		e := New(Options{Rules: r})
		n, m = n%(1<<40), m%(1<<40)
		var c rates.Counts
		c.Packets, c.Bytes, c.UDPBytes = n+m, 100*n, 60*m
		c.ByClass[class%schemas.NumClasses], c.ByClass[(class>>4)%schemas.NumClasses] = n, m
		x := record()
		for i := range uint64(40) {
			v := a + i*uint64(port)
			addr := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
			if six {
				addr = netip.AddrFrom16([16]byte{0x20, 1, byte(v >> 8), byte(v), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(a)})
			}
			x.Top = append(x.Top, rates.Source{Source: addr, PortPairs: uint32(m % 65), Window1s: c, Window10s: c})
			x.Victims = append(x.Victims, rates.Target{Destination: addr, Class: schemas.Class(class % schemas.NumClasses), Protocol: uint8(a), Port: port,
				Packets1s: n, Packets10s: n + m, Sources1s: m, Sources10s: m})
		}
		x.Window1s, x.Window10s, x.Sources1s, x.Sources10s, x.SYNSources1s, x.SYNACKSources1s = c, c, m, m, m, m
		for i := range 3 {
			at := now.Add(time.Duration(i) * time.Second)
			x.End = at
			for _, d := range e.Rates(x, at) {
				if d.Reason == "" || d.Rule == "" || d.Evidence == nil {
					t.Fatalf("incomplete: %+v", d)
				}
				if !d.Step.Writes() {
					continue
				}
				if _, _, err := commands.Encode(d.Command); err != nil {
					t.Fatalf("%s: %v", d.Key, err)
				}
			}
		}
	})
}
