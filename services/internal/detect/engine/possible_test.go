package engine

import (
	"testing"

	"github.com/weir-net/weir/schemas/rates"
)

// TestTotalsNeverHideASource: a record with totals decides as one without.
func TestTotalsNeverHideASource(t *testing.T) {
	const a = "203.0.113.9"
	for name, s := range map[string]rates.Source{
		"R1": source(a, packets{syn: 100}, packets{syn: 100}, 1),
		"R2": source(a, packets{syn: 6}, packets{syn: 60, tcp: 200}, 1),
		"R3": source(a, packets{udp: 1000, udpBytes: 60_000}, packets{udp: 1000, udpBytes: 60_000}, 1),
		"R4": source(a, packets{icmp: 200}, packets{icmp: 200}, 1),
		"R5": source(a, packets{frag: 2000}, packets{frag: 2000}, 1),
		"R6": source(a, packets{rst: 50_000}, packets{rst: 50_000}, 1),
	} {
		r := record(s)
		want := brief(newEngine(t).Rates(r, now))
		r.Window1s, r.Window10s = s.Window1s, s.Window10s
		if got := brief(newEngine(t).Rates(r, now)); got != want || got == "" {
			t.Errorf("%s: with totals %q, without %q", name, got, want)
		}
	}
}

// TestTotalsBelowANumberOfSomeSources: an override may ask for less than the
// rules.
func TestTotalsBelowANumberOfSomeSources(t *testing.T) {
	e := withRules(t, "overrides:\n  - {from: [203.0.113.0/24], set: {sources: [{id: R4, all: [{metric: icmp, at_least: 20}]}]}}\n")
	s := source("203.0.113.9", packets{icmp: 20}, packets{icmp: 20}, 1)
	r := record(s)
	r.Window1s, r.Window10s = s.Window1s, s.Window10s
	if got := brief(e.Rates(r, now)); got != "R4 source=203.0.113.9/32,protocol=icmp drop" {
		t.Errorf("got %q", got)
	}
}
