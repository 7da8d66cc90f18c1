package xdp

import (
	"encoding/binary"
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

// TestLikeHashes: a source of IPv6 is not counted as another whose hash is like its own
// as far as it stands in the record.
func TestLikeHashes(t *testing.T) {
	onOneCPU(t)
	r := newRig(t, Config{})
	const own, other = "2001:db8:1::", "2001:db8:2::"
	send := func() {
		for i := range uint16(64) { // of many flows, so that the table and not the buffer counts
			r.run(0, ethernet(0x86dd).ipv6(own, "2001:db8::1", 6).tcp(1000+i, 80, flagSYN), 1)
		}
	}
	send()
	table, found := &r.tables[1], false
	for i := 0; i < len(table.words); i += table.stride {
		if rec := table.read(table.words, i); rec.key&keyUsed != 0 && rec.kind() == classSYN {
			b := netip.MustParseAddr(other).As16()
			table.words[i], found = binary.NativeEndian.Uint64(b[:]), true
		}
	}
	if !found {
		t.Fatal("the batch was not counted")
	}
	send()
	w := r.drain()
	for _, s := range w.Sources.All() {
		if s.Address != netip.MustParseAddr(own) && s.Address != netip.MustParseAddr(other) || s.Packets != 64 {
			t.Errorf("%v: %d packets, want 64 of each", s.Address, s.Packets)
		}
	}
	if w.Sources.Len() != 2 || w.Totals.Packets != 128 {
		t.Errorf("%d sources, %d packets", w.Sources.Len(), w.Totals.Packets)
	}
}
