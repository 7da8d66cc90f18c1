package xdp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// crowd returns n sources whose home is one of two sets beside each other.
func crowd(r *rig, n int) (sources []Match) {
	for x := uint32(0x0a000001); len(sources) < n; x++ {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], x)
		m := Match{Source: netip.PrefixFrom(netip.AddrFrom4(a), 32)}
		if r.blocklist.setOf(words(m.Source.Addr())[0])&^1 == r.blocklist.size {
			sources = append(sources, m)
		}
	}
	return sources
}

// TestFullSets puts and deletes more sources than fit two sets, which have nowhere
// else to go but each other and the map for those that found no room: whatever comes
// and goes, those that are there are dropped, and no other; also after a restart.
func TestFullSets(t *testing.T) {
	path := pinPath(t)
	r := newRig(t, Config{PinPath: path})
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	all := crowd(r, 3*listedWays)
	there := map[Match]bool{}
	most := 0
	for round := range 400 {
		m := all[rng.IntN(len(all))]
		if rng.IntN(10) < 4+4*(round/50%2) { // often few, often more than there is room for
			r.put(Entry{Match: m, Action: ActionDrop, Interfaces: ^uint64(0), Offset: int64(round)})
			there[m] = true
		} else if n, err := r.Delete([]Match{m}); err != nil || there[m] != (n == 1) {
			t.Fatalf("round %d: deleted %d: %v", round, n, err)
		} else {
			delete(there, m)
		}
		most = max(most, r.table.counts.exactAny)
		if round%40 == 39 {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			r = newRig(t, Config{PinPath: path})
		}
		for _, m := range all {
			if drops := r.run(0, synFrom(m.Source.Addr().String()), 1) == xdpDrop; drops != there[m] {
				t.Fatalf("round %d: %v is dropped: %v, has a lease: %v", round, m.Source, drops, there[m])
			}
		}
		if n, _ := r.Len(); n != len(there) {
			t.Fatalf("round %d: %d leases, want %d", round, n, len(there))
		}
		if waiting := r.table.counts.exactAny; waiting != max(0, len(there)-2*listedWays) {
			t.Fatalf("round %d: %d of %d leases are in no set", round, waiting, len(there))
		}
	}
	if most == 0 {
		t.Error("two sets were never full")
	}
	if err := r.Remove(); err != nil {
		t.Error(err)
	}
}
