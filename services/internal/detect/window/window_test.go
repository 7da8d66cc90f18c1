package window

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// window returns chunk 0 of a window that ends at end, with SYN packets.
func window(boot string, seq uint64, end time.Duration, long time.Duration, packets uint64) *counts.Record {
	r := &counts.Record{
		Host: "h", Interface: "e", BootID: boot, Seq: seq, Chunks: 1, Duration: long,
		WindowStart: epoch.Add(end - long), WindowEnd: epoch.Add(end),
		Totals: &counts.Totals{Counters: counts.Counters{Packets: packets, Bytes: 60 * packets}},
	}
	r.Totals.ByClass[schemas.ClassSYN] = packets
	r.Sources = []counts.Source{{Address: netip.MustParseAddr("203.0.113.9"), Counters: r.Totals.Counters, PortPairs: 7}}
	return r
}

const tick = 250 * time.Millisecond

func TestSlidingWindows(t *testing.T) {
	var s State
	for i := uint64(1); i <= 60; i++ {
		if got := s.Apply(window("a", i, time.Duration(i)*tick, tick, 10)); got != Updated {
			t.Fatalf("window %d: %v", i, got)
		}
		r := s.Record()
		wantOne, wantTen := min(i, 4)*10, min(i, 40)*10
		if r.Window1s.Packets != wantOne || r.Window10s.Packets != wantTen {
			t.Fatalf("after %d windows: %d in 1 s and %d in 10 s, want %d and %d", i, r.Window1s.Packets, r.Window10s.Packets, wantOne, wantTen)
		}
		if math.Abs(r.PPS-40) > 0.01 || math.Abs(r.BPS-40*60*8) > 0.01 {
			t.Fatalf("after %d windows: %.2f pps, %.2f bps", i, r.PPS, r.BPS)
		}
		if want := min(time.Duration(i)*tick, 10*time.Second); r.Covered != want {
			t.Fatalf("covered %v, want %v", r.Covered, want)
		}
	}
	src := s.Record().Top[0]
	if src.Window1s.Packets != 40 || src.Window10s.ByClass[schemas.ClassSYN] != 400 || src.PortPairs != 3 {
		t.Errorf("source: %+v", src)
	}
}

// TestLongWindowIsNoSpike: a window held open through an outage of 30 s is
// scaled by its duration.
func TestLongWindowIsNoSpike(t *testing.T) {
	var s State
	s.Apply(window("a", 1, tick, tick, 10))
	s.Apply(window("a", 2, tick+30*time.Second, 30*time.Second, 1200))
	r := s.Record()
	if r.Window1s.Packets != 40 || r.Window10s.Packets != 400 || math.Abs(r.PPS-40) > 0.01 {
		t.Errorf("1 s: %d, 10 s: %d, %.1f pps; want 40, 400, 40", r.Window1s.Packets, r.Window10s.Packets, r.PPS)
	}
}

func TestIdentity(t *testing.T) {
	var s State
	apply := func(r *counts.Record, want Result) {
		t.Helper()
		if got := s.Apply(r); got != want {
			t.Fatalf("%s/%d/%d: %v, want %v", r.BootID, r.Seq, r.Chunk, got, want)
		}
	}
	apply(window("a", 1, tick, tick, 1), Updated)
	apply(window("a", 1, tick, tick, 1), Duplicate)
	two := window("a", 2, 2*tick, tick, 1)
	two.Chunks = 2
	apply(two, Updated)
	tail := &counts.Record{Host: "h", Interface: "e", BootID: "a", Seq: 2, Chunk: 1, Chunks: 2, WindowStart: two.WindowStart, WindowEnd: two.WindowEnd, Duration: tick}
	apply(tail, Ignored)
	apply(tail, Duplicate)
	apply(window("a", 5, 5*tick, tick, 1), Updated)
	if r := s.Record(); r.LostWindows != 2 || r.Duplicates != 2 || r.Seq != 5 {
		t.Errorf("lost %d, duplicates %d, seq %d; want 2, 2, 5", r.LostWindows, r.Duplicates, r.Seq)
	}
	apply(window("a", 4, 4*tick, tick, 1), Duplicate)
	// A new life, after the last window of the old one was published again.
	apply(window("a", 5, 5*tick, tick, 1), Duplicate)
	apply(window("b", 1, 6*tick, tick, 1), Updated)
	apply(window("a", 6, tick, tick, 1), Late)
	if r := s.Record(); r.BootID != "b" || r.Seq != 1 || r.LostWindows != 0 {
		t.Errorf("after the restart: %s/%d, lost %d", r.BootID, r.Seq, r.LostWindows)
	}
}

// TestWallClockSteps: a clock that is set back by an hour, or forth, changes
// nothing of the rates.
func TestWallClockSteps(t *testing.T) {
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		var s State
		at := time.Duration(0)
		for i := uint64(1); i <= 100; i++ {
			at += tick
			if i == 50 {
				at += step
			}
			s.Apply(window("a", i, at, tick, 10))
		}
		if r := s.Record(); r.Window1s.Packets != 40 || r.Window10s.Packets != 400 || len(s.samples.live()) > 40 {
			t.Errorf("step %v: %d in 1 s, %d in 10 s, %d windows kept; want 40, 400, 40", step, r.Window1s.Packets, r.Window10s.Packets, len(s.samples.live()))
		}
	}
}

// TestGapIsLeftOut: windows that are missing leave a hole, they are not closed up.
func TestGapIsLeftOut(t *testing.T) {
	var s State
	s.Apply(window("a", 1, tick, tick, 10))
	s.Apply(window("a", 9, 9*tick, tick, 10))
	if r := s.Record(); r.Window1s.Packets != 10 || r.LostWindows != 7 {
		t.Errorf("%d packets in 1 s, %d lost; want 10 and 7", r.Window1s.Packets, r.LostWindows)
	}
}

// TestClockCorrectedAcrossARestart: a probe that comes back with an earlier clock
// is late only until its old life is stale.
func TestClockCorrectedAcrossARestart(t *testing.T) {
	var s State
	s.Apply(window("a", 1, time.Hour, tick, 10))
	if got := s.Apply(window("b", 1, tick, tick, 10)); got != Late {
		t.Fatalf("while the old life is fresh: %v", got)
	}
	s.Record().Stale = true
	if got := s.Apply(window("b", 2, 2*tick, tick, 10)); got != Updated || s.Record().Stale {
		t.Errorf("once it is stale: %v, stale %v", got, s.Record().Stale)
	}
}

func TestUnknownInterfaceHasLostNothing(t *testing.T) {
	var s State
	s.Apply(window("a", 10_000, tick, tick, 10))
	if n := s.Record().LostWindows; n != 0 {
		t.Errorf("%d lost windows at first sight", n)
	}
}

func TestCompleteSaysWhetherAllChunksCame(t *testing.T) {
	var s State
	one := window("a", 1, tick, tick, 1)
	one.Chunks = 3
	s.Apply(one)
	s.Apply(window("a", 2, 2*tick, tick, 1))
	if s.Record().Complete {
		t.Error("two chunks of the window before are missing, and the record says complete")
	}
	s.Apply(window("a", 3, 3*tick, tick, 1))
	if !s.Record().Complete {
		t.Error("everything is there, and the record says incomplete")
	}
	shed := window("a", 4, 4*tick, tick, 1)
	shed.Totals.TailSources = 1
	s.Apply(shed)
	if s.Record().Complete {
		t.Error("a source was shed, and the record says complete")
	}
}

func TestResumeKeepsIdentityAndStartsTheWindowsAnew(t *testing.T) {
	var s State
	for i := uint64(1); i <= 8; i++ {
		s.Apply(window("a", i, time.Duration(i)*tick, tick, 10))
	}
	r := Resume(s.Record())
	if !r.Matches(s.Record()) {
		t.Fatal("a resumed state does not match its record")
	}
	if got := r.Apply(window("a", 8, 8*tick, tick, 10)); got != Duplicate {
		t.Errorf("the last window once more: %v", got)
	}
	r.Apply(window("a", 9, 9*tick, tick, 10))
	if got := r.Record(); got.Covered != tick || got.LostWindows != 0 || got.Window10s.Packets != 10 {
		t.Errorf("covered %v, lost %d, %d packets", got.Covered, got.LostWindows, got.Window10s.Packets)
	}
	if math.Abs(r.Record().PPS-40) > 0.01 {
		t.Errorf("%.1f pps from one window of 10 in 250 ms, want 40", r.Record().PPS)
	}
}

// TestResumeWaitsForTheRestOfTheWindow: who takes an interface over in the middle
// of a window gets the chunks that nobody has read yet, and they are no
// duplicates.
func TestResumeWaitsForTheRestOfTheWindow(t *testing.T) {
	var s State
	first := window("a", 1, tick, tick, 10)
	first.Chunks = 3
	s.Apply(first)
	r := Resume(s.Record())
	tail := *first
	tail.Totals = nil
	for i, want := range []Result{Ignored, Ignored, Duplicate, Duplicate} {
		tail.Chunk = []uint32{1, 2, 1, 2}[i]
		if got := r.Apply(&tail); got != want {
			t.Errorf("chunk %d: %v, want %v", tail.Chunk, got, want)
		}
	}
	if got := r.Apply(first); got != Duplicate {
		t.Errorf("chunk 0, which the table has: %v, want %v", got, Duplicate)
	}
	if n := r.Record().Duplicates; n != 3 {
		t.Errorf("%d duplicates, want 3", n)
	}
	r.Apply(window("a", 2, 2*tick, tick, 10))
	if !r.Record().Complete {
		t.Error("every chunk came, and the record says incomplete")
	}
}

// TestSlidingAgainstReference compares random windows with a naive sum.
func TestSlidingAgainstReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s State
	var at time.Duration
	type w struct {
		start, end time.Duration
		n          uint64
	}
	var all []w
	for i := uint64(1); i < 400; i++ {
		long := tick + time.Duration(rng.IntN(50))*time.Millisecond
		if rng.IntN(30) == 0 {
			long += 3 * time.Second
		}
		start := at
		at += long
		n := uint64(rng.IntN(1000))
		all = append(all, w{start, at, n})
		s.Apply(window("a", i, at, long, n))
		for _, c := range []struct {
			span time.Duration
			got  uint64
		}{{time.Second, s.Record().Window1s.Packets}, {10 * time.Second, s.Record().Window10s.Packets}} {
			want := 0.0
			for _, x := range all {
				if from := at - c.span; x.end > from {
					want += float64(x.n) * min(1, float64(x.end-from)/float64(x.end-x.start))
				}
			}
			if math.Abs(want-float64(c.got)) > 1 {
				t.Fatalf("window %d, %v: %d, want %.1f", i, c.span, c.got, want)
			}
		}
	}
}

func TestTopIsBoundedAndHoldsTheSlowSynFlood(t *testing.T) {
	var s State
	slow := netip.MustParseAddr("198.51.100.9")
	for seq := uint64(1); seq <= 40; seq++ {
		r := window("a", seq, time.Duration(seq)*tick, tick, 0)
		r.Sources = nil
		for i := range uint32(5000) {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], 0x0a000000+i+uint32(seq)*10000)
			src := counts.Source{Address: netip.AddrFrom4(b), Counters: counts.Counters{Packets: 5, Bytes: 5000}}
			src.ByClass[schemas.ClassTCPOther] = 5
			r.Sources = append(r.Sources, src)
		}
		x := counts.Source{Address: slow, Counters: counts.Counters{Packets: 2, Bytes: 120}}
		x.ByClass[schemas.ClassSYN] = 2
		r.Sources = append(r.Sources, x)
		s.Apply(r)
	}
	top := s.Record().Top
	if len(top) > 256 {
		t.Errorf("%d sources, at most 256", len(top))
	}
	found := false
	for i := range top {
		if top[i].Source == slow {
			found = true
			if top[i].Window10s.ByClass[schemas.ClassSYN] != 80 {
				t.Errorf("the slow flood has %d SYN, want 80", top[i].Window10s.ByClass[schemas.ClassSYN])
			}
		}
	}
	if !found {
		t.Error("200,000 busier sources hid the one that opens connections")
	}
	for i, w := range s.samples.live() {
		c := cursor{b: s.lines.from(w.lines)}
		c.line(new(line))
		c.uint()
		c.uint()
		if n := c.uint(); n < 100 || n > sourcesKept {
			t.Fatalf("%d sources of window %d are kept, want 100 to %d", n, i, sourcesKept)
		}
	}
}

// TestUnionOfSketches compares packed sketches with a plain maximum.
func TestUnionOfSketches(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, set := range []int{0, 1, 20, fewRegisters, fewRegisters + 1, sketchSize} {
		var u union
		want := make([]byte, sketchSize)
		for range 5 {
			registers := make([]byte, sketchSize)
			for _, i := range rng.Perm(sketchSize)[:set] {
				registers[i] = byte(1 + rng.IntN(255))
				want[i] = max(want[i], min(registers[i], maxRank))
			}
			few, all := pack(nil, 0, registers)
			if (all != nil) != (set > fewRegisters) || len(few) != set && all == nil {
				t.Fatalf("%d registers set: %d in a list", set, len(few))
			}
			for _, r := range few {
				u.set(r)
			}
			u.add(all)
		}
		if !bytes.Equal(u.registers[:], want) || u.any != (set > 0) {
			t.Errorf("%d registers set: the union is not their maximum", set)
		}
	}
	if few, all := pack(nil, 0, []byte{1, 2, 3}); few != nil || all != nil {
		t.Error("registers of another size were taken")
	}
}

func TestEstimates(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 10, 1000, 2600, 100_000} {
		registers := make([]byte, sketchSize)
		for range n {
			h := rng.Uint64()
			rank := byte(1)
			for rest := h >> 10; rest&1 == 0 && rank < 33; rest >>= 1 {
				rank++
			}
			registers[h%sketchSize] = max(registers[h%sketchSize], rank)
		}
		if got := float64(distinct(registers)); math.Abs(got-float64(n)) > 0.1*float64(n)+1 {
			t.Errorf("HyperLogLog: %.0f of %d", got, n)
		}
	}
	for _, n := range []int{0, 1, 8, 50, 100} {
		var total float64
		for range 200 {
			var bitmap uint64
			for range n {
				bitmap |= 1 << (rng.Uint64() & 63)
			}
			total += float64(linear(bitmap))
		}
		if mean := total / 200; math.Abs(mean-float64(n)) > 0.1*float64(n)+0.5 {
			t.Errorf("linear counting: %.1f of %d", mean, n)
		}
	}
}

func BenchmarkApply(b *testing.B) {
	var s State
	r := window("a", 1, tick, tick, 10)
	r.Sources = make([]counts.Source, 1000)
	for i := range r.Sources {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], uint32(i))
		r.Sources[i].Address = netip.AddrFrom4(a)
		r.Sources[i].Packets = uint64(i)
	}
	for i := range b.N {
		r.Seq = uint64(i + 1)
		r.WindowEnd = epoch.Add(time.Duration(i+1) * tick)
		r.WindowStart = r.WindowEnd.Add(-tick)
		s.Apply(r)
	}
}
