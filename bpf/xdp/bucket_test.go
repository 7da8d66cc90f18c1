package xdp

import (
	"net/netip"
	"testing"
)

// TestNobodyInheritsDebt limits a source and a network to next to nothing, so that
// they owe minutes, and then raises the limit, or ends the lease and has another
// take its place: what comes next is not held against the old rate.
func TestNobodyInheritsDebt(t *testing.T) {
	source, network := source("203.0.113.9/32"), Match{Destination: netip.MustParsePrefix("198.51.100.0/24")}
	for _, m := range []Match{source, network} {
		for _, deleted := range []bool{false, true} {
			r := newRig(t, Config{})
			r.put(Entry{Match: m, Action: ActionRateLimit, BPS: 1})
			send := func() map[string]uint64 {
				return reasonsOf(t, r, func() { r.run(0, synFrom("203.0.113.9"), 10) })
			}
			if got := send(); got["pass_observed"] != 1 {
				t.Fatalf("%v: at 1 bps: %v, want one to pass", m, got)
			}
			if deleted {
				if _, err := r.Delete([]Match{m}); err != nil {
					t.Fatal(err)
				}
			}
			r.put(Entry{Match: m, Action: ActionRateLimit, BPS: 1e12})
			if got := send(); got["pass_observed"] != 10 {
				t.Errorf("%v, deleted in between %v: at 1 Tbps: %v, want all to pass", m, deleted, got)
			}
		}
	}
}
