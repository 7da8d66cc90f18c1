package window

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
)

func TestPackedLines(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	number := func() uint64 { return rng.Uint64() >> rng.UintN(64) * rng.Uint64N(2) }
	var want []line
	var b []byte
	for range 1000 {
		x := line{slot: int32(rng.Uint32() >> (1 + rng.UintN(31)))}
		for i := range x.counters.ByClass {
			x.counters.ByClass[i] = number()
		}
		x.counters.Packets, x.counters.Bytes, x.counters.UDPBytes, x.counters.Dropped = number(), number(), number(), number()
		want, b = append(want, x), appendLine(b, &x)
	}
	c := cursor{b: b}
	for i := range want {
		var got line
		if c.line(&got); got != want[i] {
			t.Fatalf("line %d: got %+v, want %+v", i, got, want[i])
		}
	}
	if c.at != len(b) {
		t.Errorf("%d bytes are left", len(b)-c.at)
	}
}

func TestQueueKeepsPositions(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var q queue[int]
	oldest, next := 0, 0
	for range 3000 {
		q.room()
		if q.end() != next {
			t.Fatalf("the next position is %d, want %d", q.end(), next)
		}
		for range rng.IntN(1 + 500/(1+next%70)) {
			q.items = append(q.items, next)
			next++
		}
		oldest += rng.IntN(next - oldest + 1)
		q.dropTo(oldest)
		if live := q.live(); len(live) != next-oldest || len(live) > 0 && (live[0] != oldest || q.from(next - 1)[0] != next-1) {
			t.Fatalf("%d are live, want %d from %d on", len(live), next-oldest, oldest)
		}
	}
	q.drop(len(q.live()))
	q.room()
	if cap(q.items) > 64 {
		t.Errorf("an empty queue keeps room for %d", cap(q.items))
	}
}

// seldom is a window with sources of this and of earlier windows: a crowd of new
// ones, then few.
func seldom(rng *rand.Rand, seq uint64) *counts.Record {
	r := window("a", seq, time.Duration(seq)*tick, tick, 0)
	r.Sources = nil
	r.Totals.SourcesSketch = make([]byte, sketchSize)
	n, pool := 12, uint32(20)
	if seq/50%2 == 1 {
		n, pool = 300, 1<<20
	}
	for range n {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+rng.Uint32N(pool))
		address := netip.AddrFrom4(b)
		if slices.ContainsFunc(r.Sources, func(s counts.Source) bool { return s.Address == address }) {
			continue
		}
		x := counts.Source{Address: address, Counters: counts.Counters{Packets: 1 + rng.Uint64N(300)}, PortPairs: 1 << rng.UintN(64)}
		x.ByClass[schemas.ClassSYN] = x.Packets
		r.Sources = append(r.Sources, x)
		r.Totals.Counters.Add(x.Counters)
		r.Totals.SourcesSketch[rng.IntN(sketchSize)] = byte(1 + rng.IntN(20))
	}
	r.Totals.Ports = []counts.Target{{Class: schemas.ClassSYN, Protocol: 6, Port: uint16(rng.IntN(3)), Packets: 1, SourceBits: 1 << rng.UintN(64)}}
	return r
}

// TestEverythingAgainstReference adds up whole windows from the beginning each
// time, and wants the state, which only moves what has changed, to agree.
func TestEverythingAgainstReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var s State
	var all []*counts.Record
	shrunk := false
	for seq := uint64(1); seq <= 260; seq++ {
		all = append(all, seldom(rng, seq))
		rows := len(s.sources.rows)
		s.Apply(all[len(all)-1])
		shrunk = shrunk || len(s.sources.rows) < rows
		one, ten := all[max(0, len(all)-4):], all[max(0, len(all)-40):]
		r := s.Record()
		if r.Sources1s != unite(one) || r.Sources10s != unite(ten) {
			t.Fatalf("window %d: %d and %d sources, want %d and %d", seq, r.Sources1s, r.Sources10s, unite(one), unite(ten))
		}
		for _, x := range r.Top {
			packets, _ := ofSource(ten, x.Source)
			recent, pairs := ofSource(one, x.Source)
			if x.Window10s.Packets != packets || x.Window1s.Packets != recent || x.PortPairs != uint32(bits.OnesCount64(pairs)) {
				t.Fatalf("window %d: %+v, want %d and %d packets, pairs %b", seq, x, recent, packets, pairs)
			}
		}
		for _, x := range r.Ports {
			if x.Sources1s != linear(ofPort(one, x.Port)) || x.Sources10s != linear(ofPort(ten, x.Port)) {
				t.Fatalf("window %d: port %+v, want bitmaps %b and %b", seq, x, ofPort(one, x.Port), ofPort(ten, x.Port))
			}
		}
		if len(r.Top) == 0 || len(r.Ports) == 0 {
			t.Fatalf("window %d: nothing in it", seq)
		}
	}
	if !shrunk {
		t.Error("no memory was given back after a crowd: renumbering was not tried")
	}
}

func unite(all []*counts.Record) uint64 {
	var u union
	for _, r := range all {
		for i, rank := range r.Totals.SourcesSketch {
			u.set(register{rank: rank, index: uint16(i)})
		}
	}
	return u.distinct()
}

func ofSource(all []*counts.Record, a netip.Addr) (packets, pairs uint64) {
	for _, r := range all {
		for i := range r.Sources {
			if r.Sources[i].Address == a {
				packets += r.Sources[i].Packets
				pairs |= r.Sources[i].PortPairs
			}
		}
	}
	return packets, pairs
}

func ofPort(all []*counts.Record, port uint16) (seen uint64) {
	for _, r := range all {
		for _, x := range r.Totals.Ports {
			if x.Port == port {
				seen |= x.SourceBits
			}
		}
	}
	return seen
}
