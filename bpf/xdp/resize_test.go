package xdp

import (
	"net/netip"
	"slices"
	"testing"
)

// TestListedSets: as many sets as leave half of the ways free, and never fewer.
func TestListedSets(t *testing.T) {
	for n := range 1 << 16 {
		sets := int(listedSets(n))
		if sets&(sets-1) != 0 || sets*listedPerSet < n || sets > listedSetsMin && sets/2*listedPerSet >= n {
			t.Fatalf("%d sets for %d leases", sets, n)
		}
	}
}

// TestRoomIsForTheLeases: how leases are loaded makes no difference to how many sets
// they take, nor does renewing them.
func TestRoomIsForTheLeases(t *testing.T) {
	const n = 9000
	entries := make([]Entry, n)
	for i := range entries {
		a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		entries[i] = Entry{Match: Match{Source: netip.PrefixFrom(a, 32)}, Action: ActionDrop, Interfaces: ^uint64(0)}
	}
	for _, portion := range []int{n, 100, 1} {
		r := newRig(t, Config{MaxLeases: 1 << 14})
		for range 2 { // the second time, they are renewals
			for part := range slices.Chunk(entries, portion) {
				r.put(part...)
			}
			if got := r.blocklist.size; got != listedSets(n) {
				t.Errorf("%d leases in portions of %d take %d sets, want %d", n, portion, got, listedSets(n))
			}
		}
	}
}
