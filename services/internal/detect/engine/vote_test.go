package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
)

// trunks is a record of five relays of telephone calls, small UDP of each just
// below what R3 is about.
func trunks() *rates.Record {
	r := record()
	for _, a := range []string{"192.0.2.11", "192.0.2.12", "192.0.2.13", "192.0.2.14", "192.0.2.15"} {
		r.Top = append(r.Top, source(a, packets{udp: 900, udpBytes: 900 * 74}, packets{udp: 9000, udpBytes: 9000 * 74}, 60))
	}
	total(r)
	return r
}

// total adds the record's sources up.
func total(r *rates.Record) {
	r.Window1s, r.Window10s = rates.Counts{}, rates.Counts{}
	for i := range r.Top {
		for c, n := range r.Top[i].Window1s.ByClass {
			r.Window1s.ByClass[c] += n
			r.Window1s.Packets += n
			r.Window10s.ByClass[c] += r.Top[i].Window10s.ByClass[c]
			r.Window10s.Packets += r.Top[i].Window10s.ByClass[c]
		}
	}
}

// TestBaselineVotesForRegulars: a source of quiet hours that sends more than a
// rule's number is none of the rule's while the interface has what it is used to.
func TestBaselineVotesForRegulars(t *testing.T) {
	e := newEngine(t)
	at := quietly(e, now, 11*time.Minute, trunks())
	// with is the usual record and one source with so many small UDP.
	with := func(a string, udp uint64) *rates.Record {
		r := trunks()
		r.Top = r.Top[1:]
		r.Top = append(r.Top, source(a, packets{udp: udp, udpBytes: udp * 74}, packets{udp: udp * 2, udpBytes: udp * 2 * 74}, 60))
		total(r)
		r.End = at
		return r
	}
	const regular, stranger = "192.0.2.11", "203.0.113.9"
	if d := newEngine(t).Rates(with(regular, 1500), at); len(d) != 1 {
		t.Fatalf("without a baseline: %s", brief(d))
	}
	if d := e.Rates(with(regular, 1500), at); len(d) != 0 {
		t.Errorf("a regular: %s", brief(d))
	}
	if d := e.Rates(with(regular, 3999), at); len(d) != 0 {
		t.Errorf("just under four times the rule's number: %s", brief(d))
	}
	if d := e.Rates(with(stranger, 1500), at); !strings.HasPrefix(brief(d), "R3 203.0.113.9/32 drop") {
		t.Errorf("a stranger: %q", brief(d))
	}

	e = newEngine(t)
	at = quietly(e, now, 11*time.Minute, trunks())
	if d := e.Rates(with(regular, 4000), at); len(d) != 1 || d[0].Rule != "R3" {
		t.Errorf("four times the rule's number: %s", brief(d))
	}
}

// TestBaselineVotesByClass: that there is much of one class says nothing about
// another, and more than twice the usual peak is not usual.
func TestBaselineVotesByClass(t *testing.T) {
	for name, c := range map[string]struct {
		mad  packets
		rule string
	}{
		"pings":                   {packets{icmp: 300}, "R4"},
		"fragments":               {packets{udp: 10, udpBytes: 14_000, frag: 3000}, "R5"},
		"another protocol":        {packets{other: 60_000}, "R6"},
		"SYN, which have no vote": {packets{syn: 150}, "R1"},
	} {
		e := newEngine(t)
		at := quietly(e, now, 11*time.Minute, trunks())
		r := trunks()
		r.Top = append(r.Top[1:], source("192.0.2.11", c.mad, c.mad, 1))
		total(r)
		r.Victims = []rates.Target{{Destination: source(victim, packets{}, packets{}, 1).Source, Class: schemas.ClassOther, Protocol: 47, Packets1s: 60_000}}
		r.End = at
		if d := e.Rates(r, at); len(d) == 0 || d[0].Rule != c.rule {
			t.Errorf("%s of a regular: %q, want %s", name, brief(d), c.rule)
		}
	}
	e := newEngine(t)
	usual := trunks()
	usual.Top = usual.Top[:1]
	total(usual)
	at := quietly(e, now, 11*time.Minute, usual) // up to 1,024 in its bucket
	r := record(source("192.0.2.11", packets{udp: 2100, udpBytes: 2100 * 74}, packets{udp: 2100, udpBytes: 2100 * 74}, 60))
	total(r)
	r.End = at
	if d := e.Rates(r, at); len(d) != 1 || d[0].Rule != "R3" {
		t.Errorf("more than twice the usual peak: %q", brief(d))
	}
}

// TestVoteOfHealthChecks: SYN have no vote. A regular that opens connections and
// says nothing on them is limited, however few these are beside the others'.
func TestVoteOfHealthChecks(t *testing.T) {
	e := newEngine(t)
	usual := record(source("192.0.2.7", packets{syn: 400, tcp: 4000}, packets{syn: 4000, tcp: 40_000}, 64),
		source("192.0.2.8", packets{syn: 2, tcp: 20}, packets{syn: 20, tcp: 200}, 4))
	total(usual)
	at := quietly(e, now, 11*time.Minute, usual)
	r := record(usual.Top[0], source("192.0.2.8", packets{syn: 8, tcp: 12}, packets{syn: 80, tcp: 120}, 8))
	total(r)
	r.End = at
	if d := e.Rates(r, at); len(d) != 1 || d[0].Rule != "R2" || d[0].Command.Action != "rate-limit" {
		t.Errorf("decided %q", brief(d))
	}
}
