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

// TestLikeHashes: a source of IPv6 is not counted as another whose hash is like its own, but
// for one bit of those that stand in the record.
func TestLikeHashes(t *testing.T) {
	onOneCPU(t)
	for bit := range keyShift6 {
		r := newRig(t, Config{})
		own, other := netip.MustParseAddr("2001:db8:1::"), netip.MustParseAddr("2001:db8:2::")
		send := func() {
			for i := range uint16(64) { // of many flows, so that the table and not the buffer counts
				r.run(0, ethernet(0x86dd).ipv6(own.String(), "2001:db8::1", 6).tcp(1000+i, 80, flagSYN), 1)
			}
		}
		send()
		table, found := &r.tables[1], false
		for i := range len(table.words) / recordWords {
			if rec := table.read(i); rec.key&keyUsed != 0 && rec.kind() == classSYN {
				if rec.addr() != own {
					t.Fatalf("the record is of %v", rec.addr())
				}
				b := other.As16()
				*table.word(i) ^= 1 << bit
				table.name(i)[0], found = binary.NativeEndian.Uint64(b[:]), true
			}
		}
		if !found {
			t.Fatal("the batch was not counted")
		}
		send()
		w := r.drain()
		for _, s := range w.Sources.All() {
			if s.Address != own && s.Address != other || s.Packets != 64 {
				t.Errorf("bit %d: %v: %d packets, want 64 of each", bit, s.Address, s.Packets)
			}
		}
		if w.Sources.Len() != 2 || w.Totals.Packets != 128 {
			t.Errorf("bit %d: %d sources, %d packets", bit, w.Sources.Len(), w.Totals.Packets)
		}
		r.Close()
	}
}

// TestNamesAreOfTheirRecords: what a record of IPv6 is found by is of the hash of the source
// that it is of, in both sets, of every kind, whether counted by the program or carried over.
func TestNamesAreOfTheirRecords(t *testing.T) {
	onOneCPU(t)
	r := newRig(t, Config{SourceWays: 1 << 12})
	r.SetOnLink(0, []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")})
	table := &r.tables[1]
	for window := range 4 {
		for i := range uint16(700) { // more than there is room for in the first sets
			from := fmt.Sprintf("2001:db8:1::%x", 1+i)
			if i%2 == 0 {
				from = fmt.Sprintf("2003:1:2:%x::1", i) // not on the link
			}
			for n := range uint16(carryPackets) {
				r.run(0, ethernet(0x86dd).ipv6(from, "2001:db8::1", 6).tcp(1000+n, 80, flagACK), 1)
			}
			r.run(0, ethernet(0x86dd).ipv6(from, "2001:db8::1", 17).udp(1000, 53, 8), 1)
		}
		of := map[bool]int{}
		half := int(r.control.Epoch)
		hot := r.hot(table, half)
		for i := range len(table.words) / recordWords {
			rec := table.read(i)
			if rec.key&keyUsed == 0 {
				continue
			}
			hash := table.hash(&rec, r.seed)
			if got := *table.word(i) & (1<<keyShift6 - 1); got != hash>>(64-keyShift6) {
				t.Fatalf("window %d: the record of %v has %#x, want %#x", window, rec.addr(), got, hash>>(64-keyShift6))
			}
			set := i / setWays % table.sets
			if set != table.first(hash, hot) && set != table.second(hash, rec.kind(), hot) {
				t.Fatalf("window %d: the record of %v is in set %d", window, rec.addr(), set)
			}
			of[set == table.first(hash, hot)]++
		}
		if of[true] < 100 || of[false] < 10 {
			t.Errorf("window %d: %d records are in their first set, %d in their second", window, of[true], of[false])
		}
		r.drain()
		r.Commit()
	}
}
