package xdp

import (
	"fmt"
	"net/netip"
	"testing"
)

// TestFamiliesTakeTurns: packets of one family that wait for their second set are counted
// as what they are when all that come after them are of the other.
func TestFamiliesTakeTurns(t *testing.T) {
	onOneCPU(t)
	r := newRig(t, Config{SourceWays: 256})
	sent := map[netip.Addr]uint64{}
	total := uint64(0)
	send := func(f frame, source string) {
		r.run(0, f, 1)
		sent[netip.MustParseAddr(source)]++
		total++
	}
	for round := range 40 {
		for i := range 32 {
			// Each is a host of its own, a /64.
			a := fmt.Sprintf("2001:db8:%x:%x::", round, i)
			send(ethernet(0x86dd).ipv6(a, "2001:db8::1", 6).tcp(1000, 80, flagSYN), a)
		}
		for i := range 32 {
			a := fmt.Sprintf("203.0.%d.%d", round, i)
			send(synFrom(a), a)
		}
	}
	w := r.drain()
	checkSums(t, &w)
	if w.Totals.Packets != total {
		t.Errorf("%d packets counted of %d", w.Totals.Packets, total)
	}
	if w.Other.Packets == 0 {
		t.Error("all sources found a place: no set was full")
	}
	for _, s := range w.Sources.All() {
		if s.Packets > sent[s.Address] {
			t.Errorf("%v: %d packets counted, %d sent", s.Address, s.Packets, sent[s.Address])
		}
	}
}
