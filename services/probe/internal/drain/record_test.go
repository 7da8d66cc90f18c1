package drain

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
)

func bigWindow(n int, change ...func([]xdp.Source)) *xdp.Window {
	w := &xdp.Window{BootID: "b", Seq: 3}
	var sources []xdp.Source
	for i := range n {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i))
		s := xdp.Source{Address: netip.AddrFrom4(b), Counters: xdp.Counters{Packets: uint64(2 + i%7), Bytes: uint64(100 + i%13), Dropped: uint64(i % 2)}}
		s.ByClass[schemas.ClassTCPOther] = s.Packets
		sources = append(sources, s)
		w.Totals.Packets += s.Packets
		w.Totals.Bytes += s.Bytes
		w.Totals.Dropped += s.Dropped
		w.Totals.ByClass[schemas.ClassTCPOther] += s.Packets
	}
	for _, f := range change {
		f(sources)
	}
	w.Sources = xdp.SourcesOf(sources)
	return w
}

func add(sum *counts.Counters, r *counts.Record) {
	for i := range r.Sources {
		sum.Add(r.Sources[i].Counters)
	}
}

// TestRecordsAddUp: sources of all chunks, tail and other are the totals, each
// source is in one chunk, and no record is larger than a broker takes.
func TestRecordsAddUp(t *testing.T) {
	for _, c := range []struct{ sources, most, chunks, shed int }{
		{0, 100_000, 1, 0}, {1, 100_000, 1, 0}, {4096, 100_000, 1, 0}, {50_000, 100_000, 14, 0}, {50_000, 10_000, 4, 40_000}, {300_000, 131_072, 33, 168_928},
	} {
		w := bigWindow(c.sources)
		records := Records(w, Identity{Host: "h", Interface: "e"}, Span{Duration: time.Second}, c.most)
		if len(records) != c.chunks {
			t.Errorf("%d sources, %d at most: %d chunks, want %d", c.sources, c.most, len(records), c.chunks)
		}
		sum := records[0].Totals.Tail
		seen := map[netip.Addr]bool{}
		for i := range records {
			r := &records[i]
			add(&sum, r)
			if r.Chunk != uint32(i) || r.Chunks != uint32(len(records)) || (r.Totals != nil) != (i == 0) || r.Seq != 3 || r.BootID != "b" {
				t.Fatalf("chunk %d: %d of %d", i, r.Chunk, r.Chunks)
			}
			for _, s := range r.Sources {
				if seen[s.Address] {
					t.Fatalf("%v is in two chunks", s.Address)
				}
				seen[s.Address] = true
			}
			r.WindowStart, r.WindowEnd = time.Unix(1000, 0), time.Unix(1001, 0)
			v, err := counts.Encode(*r)
			if err != nil {
				t.Fatal(err)
			}
			if len(v) > 900_000 {
				t.Errorf("a record of %d bytes", len(v))
			}
		}
		if sum != records[0].Totals.Counters {
			t.Errorf("%d sources: parts add up to %+v, totals are %+v", c.sources, sum, records[0].Totals.Counters)
		}
		if int(records[0].Totals.TailSources) != c.shed {
			t.Errorf("%d sources: %d shed, want %d", c.sources, records[0].Totals.TailSources, c.shed)
		}
	}
}

// TestSameWindowSameChunks: a window that is published again after a crash must
// have the same chunks, or readers would count it twice.
func TestSameWindowSameChunks(t *testing.T) {
	w := bigWindow(30_000)
	for i := range 50 {
		w.Targets = append(w.Targets, xdp.Target{Destination: netip.MustParseAddr("192.0.2.1"), Class: uint8(i % 8), Port: uint16(i / 3), Packets: uint64(i % 5)})
	}
	a := Records(w, Identity{}, Span{}, 20_000)
	b := Records(w, Identity{}, Span{}, 20_000)
	if !reflect.DeepEqual(a, b) {
		t.Error("the same window gave other chunks")
	}
}

// TestChunk0HasTheSlowFlood: a source that opens connections is not among the
// heaviest by packets, and must be in chunk 0 all the same.
func TestChunk0HasTheSlowFlood(t *testing.T) {
	slow := xdp.Source{Counters: xdp.Counters{Packets: 1, Bytes: 60}}
	slow.ByClass[schemas.ClassSYN] = 1
	w := bigWindow(20_000, func(sources []xdp.Source) {
		slow.Address = sources[17_123].Address
		sources[17_123] = slow
	})
	for _, s := range Records(w, Identity{}, Span{}, 131_072)[0].Sources {
		if s.Address == slow.Address {
			return
		}
	}
	t.Error("it is not in chunk 0")
}

func TestPortsSumOverDestinations(t *testing.T) {
	w := &xdp.Window{Targets: []xdp.Target{
		{Destination: netip.MustParseAddr("192.0.2.1"), Class: uint8(schemas.ClassUDP), Protocol: 17, Port: 53, Packets: 3, Bytes: 30, SourceBits: 1},
		{Destination: netip.MustParseAddr("192.0.2.2"), Class: uint8(schemas.ClassUDP), Protocol: 17, Port: 53, Packets: 4, Bytes: 40, SourceBits: 6},
		{Destination: netip.MustParseAddr("192.0.2.2"), Class: uint8(schemas.ClassICMP), Protocol: 1, Packets: 4},
	}}
	got := Records(w, Identity{}, Span{}, 10)[0].Totals.Ports
	if len(got) != 1 || got[0].Packets != 7 || got[0].Bytes != 70 || got[0].SourceBits != 7 || got[0].Destination.IsValid() {
		t.Errorf("ports %+v", got)
	}
}

// TestHeaviest holds the heap against a stable sort.
func TestHeaviest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 60 {
		all := make([]weighted, n)
		h := heaviest{most: 20}
		for i := range all {
			all[i] = weighted{rng.Uint64N(30), i}
			h.offer(i, all[i].weight)
		}
		all = slices.DeleteFunc(all, func(w weighted) bool { return w.weight == 0 })
		slices.SortStableFunc(all, func(a, b weighted) int { return cmp.Compare(b.weight, a.weight) })
		sum, want := uint64(0), uint64(0)
		for _, w := range all[:min(20, len(all))] {
			want += w.weight
		}
		for _, w := range h.heap {
			sum += w.weight
		}
		if len(h.heap) != min(20, len(all)) || sum != want {
			t.Fatalf("of %d: %d that weigh %d, want %d", n, len(h.heap), sum, want)
		}
	}
}
