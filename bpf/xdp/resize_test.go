package xdp

import "testing"

// TestListedSets: as many sets as leave half of the ways free, and never fewer.
func TestListedSets(t *testing.T) {
	for n := range 1 << 16 {
		sets := int(listedSets(n))
		if sets&(sets-1) != 0 || sets*listedPerSet < n || sets > listedSetsMin && sets/2*listedPerSet >= n {
			t.Fatalf("%d sets for %d leases", sets, n)
		}
	}
}
