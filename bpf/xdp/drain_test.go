package xdp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// TestDrainIsExact counts from every CPU while windows end all the time, with
// more sources than the table holds: no packet may be missing or count twice.
func TestDrainIsExact(t *testing.T) {
	r := newRig(t, Config{SourceWays: 256})
	var sent [2]uint64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for worker := range sent {
		wg.Add(1)
		go func() {
			defer wg.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			f := synFrom("203.0.113.1")
			rng := rand.New(rand.NewPCG(1, uint64(worker)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				binary.BigEndian.PutUint32(f[26:], 0x0a000000|rng.Uint32N(4000))
				// One at a time: a repeated run that a signal interrupts is run again.
				if _, err := r.programs[0].Run(&ebpf.RunOptions{Data: f, Repeat: 1}); err != nil {
					t.Error(err)
					return
				}
				sent[worker]++
			}
		}()
	}
	var counted uint64
	var truncated bool
	for i := 0; i < 60 || !truncated && i < 2000; i++ {
		w := r.drain()
		counted += w.Totals.Packets
		truncated = truncated || w.Truncated
		r.Commit()
	}
	close(stop)
	wg.Wait()
	for range 2 {
		w := r.drain()
		counted += w.Totals.Packets
		r.Commit()
	}
	if want := sent[0] + sent[1]; counted != want || want == 0 {
		t.Errorf("counted %d of %d packets", counted, want)
	}
	if !truncated {
		t.Error("4,000 sources fitted into 256 ways: the test did not test the overflow")
	}
}

// TestDistinctSources holds the sketches against the truth, also when most
// sources found no place in the table.
func TestDistinctSources(t *testing.T) {
	r := newRig(t, Config{SourceWays: 1024})
	const n = 20_000
	f := synFrom("203.0.113.1")
	for i := range uint32(n) {
		binary.BigEndian.PutUint32(f[26:], 0x0a000000+i)
		r.run(0, f, 1)
	}
	w := r.drain()
	if !w.Truncated {
		t.Fatal("the table held them all")
	}
	if got := estimate(w.SYNSketch); got < n*0.9 || got > n*1.1 {
		t.Errorf("estimated %.0f distinct sources of %d", got, n)
	}
	if w.SYNACKSketch != nil {
		t.Error("SYN-ACK sources without a SYN-ACK")
	}
	var want sketches // those of the program and those of the drain are of one kind
	for i := range uint32(n) {
		rec := record{key: keyUsed | classSYN<<kindShift, address: [2]uint64{uint64(bits.ReverseBytes32(0x0a000000 + i))}}
		want.note(r.tables[0].hash(&rec, r.seed), 1<<classSYN)
	}
	if !bytes.Equal(w.SYNSketch, want.syn[:]) {
		t.Error("the sketch is not that of the sources")
	}
}

// TestSketchOfALargeTable holds sketches that were made of where blocks are against those
// of the sources' hashes: in a table of so many hot blocks a rank is known of half of them.
func TestSketchOfALargeTable(t *testing.T) {
	r := newRig(t, Config{SourceWays: 2 * sketchSize * blockSets * setWays})
	const n = 20_000 // so few that each finds a place
	for i := range r.tables {
		r.setHot(&r.tables[i], int(r.control.Epoch), r.tables[i].sets)
		r.fill(&r.tables[i], n)
	}
	w := r.drain()
	var want sketches
	for i := range r.tables {
		for at := range n {
			rec := record{key: keyUsed | classSYN<<kindShift, address: [2]uint64{uint64(words(scattered(at))[0])}}
			want.note(r.tables[i].hash(&rec, r.seed), 1<<classSYN)
		}
	}
	want.complete()
	if !bytes.Equal(w.SYNSketch, want.syn[:]) || !bytes.Equal(w.SourcesSketch, want.all[:]) {
		t.Error("the sketch is not that of the sources")
	}
	if got := estimate(w.SYNSketch); got < 2*n*0.85 || got > 2*n*1.15 {
		t.Errorf("estimated %.0f distinct sources of %d", got, 2*n)
	}
}

// estimate is the textbook HyperLogLog estimate for 2^10 registers.
func estimate(registers []byte) float64 {
	sum := 0.0
	for _, r := range registers {
		sum += 1 / float64(uint64(1)<<r)
	}
	m := float64(len(registers))
	return 0.7213 / (1 + 1.079/m) * m * m / sum
}

// TestUncommittedWindowComesAgain is the probe's death between reading and
// publishing: the next process finds the same window under its old name.
func TestUncommittedWindowComesAgain(t *testing.T) {
	path := "/sys/fs/bpf/weir-test-" + filepath.Base(t.TempDir())
	open := func(boot string) *rig { return newRig(t, Config{PinPath: path, BootID: boot}) }
	t.Cleanup(func() { os.RemoveAll(path) })
	a := open("boot-a")
	a.put(Entry{Match: source("203.0.113.7/32"), Action: ActionDrop, Offset: 42})
	a.run(0, synFrom("203.0.113.9"), 3)
	first := a.drain()
	a.run(0, synFrom("203.0.113.9"), 4)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}

	b := open("boot-b")
	if !b.Adopted() {
		t.Fatal("nothing was adopted")
	}
	again := b.drain()
	if again.BootID != "boot-a" || again.Seq != first.Seq || again.Totals != first.Totals {
		t.Errorf("came again as %s/%d %v, was %s/%d %v", again.BootID, again.Seq, &again, first.BootID, first.Seq, &first)
	}
	if twice := b.drain(); twice.Totals != first.Totals || twice.Seq != first.Seq {
		t.Error("a window without commit changed")
	}
	b.Commit()
	rest := b.drain()
	if rest.BootID != "boot-b" || rest.Seq != 1 || rest.Totals.Packets != 4 {
		t.Errorf("the rest is %s/%d with %d packets, want boot-b/1 with 4", rest.BootID, rest.Seq, rest.Totals.Packets)
	}
	b.Commit()
	if v := b.run(0, synFrom("203.0.113.7"), 1); v != xdpDrop {
		t.Error("an adopted lease does not drop")
	}
	var offset int64
	b.Entries(func(e Entry, _ Drops) bool { offset = e.Offset; return true })
	if offset != 42 {
		t.Errorf("adopted lease has offset %d, want 42", offset)
	}
	if err := b.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("pins are left: %v", err)
	}
}

// TestSourceWays: a table of a size that the program cannot work with is refused, before
// the kernel has to.
func TestSourceWays(t *testing.T) {
	for _, ways := range []int{-8, 4, 12, 1<<24 + 8, 1 << 25} {
		if d, err := Open(Config{SourceWays: ways}); err == nil {
			d.Close()
			t.Errorf("%d source ways are taken", ways)
		}
	}
}

func TestOtherSizesAreRefused(t *testing.T) {
	path := "/sys/fs/bpf/weir-test-" + filepath.Base(t.TempDir())
	t.Cleanup(func() { os.RemoveAll(path) })
	newRig(t, Config{PinPath: path, SourceWays: 1024})
	if d, err := Open(Config{PinPath: path, SourceWays: 2048, MaxLeases: 4096}); err == nil {
		d.Close()
		t.Fatal("maps of another size were adopted")
	}
}

// TestJoin holds the sources of random tables, with records at home and elsewhere, of
// few sources and of many in a set, against a plain sum.
func TestJoin(t *testing.T) {
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	strays := 0
	for _, c := range []struct{ ways, sources, records int }{
		{8, 3, 200}, {64, 100, 1000}, {1 << 12, 3000, 20_000}, {1 << 12, 100_000, 20_000}, {1 << 16, 100_000, 100_000},
	} {
		r := newRig(t, Config{SourceWays: c.ways})
		r.use(1, FilterEnforce)
		type key struct {
			slot    int
			address netip.Addr
		}
		want := map[key]*Source{}
		for range c.records {
			table := &r.tables[rng.IntN(2)]
			rec := record{key: keyUsed | uint32(rng.IntN(16))<<kindShift | uint32(rng.IntN(2)), counts: rng.Uint64() & (1<<63 - 1)}
			if rng.IntN(16) == 0 {
				rec.key = rec.key&^(kindMask<<kindShift) | kindPairs<<kindShift
			}
			rec.address[0] = 1 + rng.Uint64N(uint64(c.sources))
			if table.family == 6 {
				rec.key |= keyFamily6
				rec.address[1] = rec.address[0] * 7
			}
			region := int(r.control.Epoch)*r.cpus + rng.IntN(r.cpus)
			h, hot := table.hash(&rec, r.seed), r.hot(table, int(r.control.Epoch))
			set, _, ok := table.enter(region, hot, &rec, r.seed)
			if !ok {
				continue
			}
			if set != table.first(h, hot) {
				strays++
			}
			k := key{rec.slot(), rec.addr()}
			if want[k] == nil {
				want[k] = &Source{Address: k.address}
			}
			rec.addTo(want[k])
		}
		out, err := r.Drain()
		if err != nil {
			t.Fatal(err)
		}
		for i := range out.Windows {
			w := &out.Windows[i]
			checkSums(t, w)
			for _, s := range w.Sources.All() {
				k := key{int(w.Slot), s.Address}
				if want[k] == nil || *want[k] != *s {
					t.Fatalf("%d ways: %+v, want %+v", c.ways, *s, want[k])
				}
				delete(want, k)
			}
		}
		if len(want) != 0 {
			t.Errorf("%d ways: %d sources are missing", c.ways, len(want))
		}
	}
	if strays == 0 {
		t.Error("every record was at home")
	}
}

// TestHeaviestAreListed: of more sources than are to be listed, those are that are
// heaviest by some measure, on one CPU or over all; and none is forgotten in the count.
func TestHeaviestAreListed(t *testing.T) {
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	r := newRig(t, Config{SourceWays: 1 << 17, MaxSources: 1})
	truth := map[netip.Addr]*Source{}
	for range 150_000 {
		table := &r.tables[rng.IntN(2)]
		rec := record{key: keyUsed | uint32(rng.IntN(16))<<kindShift, counts: (1+rng.Uint64N(3))<<byteBits | 60}
		switch rng.IntN(100) {
		case 0:
			rec.counts += rng.Uint64N(1000) << byteBits
		case 1:
			rec.counts += rng.Uint64N(1_000_000)
		}
		rec.address[0] = 1 + rng.Uint64N(60_000)
		if table.family == 6 {
			rec.key |= keyFamily6
		}
		region, hot := int(r.control.Epoch)*r.cpus+rng.IntN(r.cpus), r.hot(table, int(r.control.Epoch))
		if _, _, ok := table.enter(region, hot, &rec, r.seed); !ok {
			continue
		}
		if truth[rec.addr()] == nil {
			truth[rec.addr()] = &Source{Address: rec.addr()}
		}
		rec.addTo(truth[rec.addr()])
	}
	out, err := r.Drain()
	if err != nil {
		t.Fatal(err)
	}
	sources := &out.Windows[0].Sources
	if sources.Len()+sources.More() != len(truth) || sources.More() == 0 {
		t.Errorf("%d sources are listed and %d are not, of %d", sources.Len(), sources.More(), len(truth))
	}
	found := map[netip.Addr]bool{}
	for _, s := range sources.All() {
		if want := truth[s.Address]; want == nil || *want != *s || found[s.Address] {
			t.Fatalf("listed: %+v, want %+v", *s, want)
		}
		found[s.Address] = true
	}
	measure := func(name string, most int, weight func(*Source) uint64) {
		all := slices.SortedFunc(maps.Values(truth), func(a, b *Source) int { return cmp.Compare(weight(b), weight(a)) })
		for _, s := range all[:most] {
			if weight(s) > weight(all[most]) && !found[s.Address] {
				t.Errorf("by %s %+v is one of the heaviest %d, and not listed", name, *s, most)
			}
		}
	}
	measure("packets", HeaviestByPackets, func(s *Source) uint64 { return s.Packets })
	measure("bytes", HeaviestByBytes, func(s *Source) uint64 { return s.Bytes })
	for c := range NumClasses {
		measure("class", HeaviestByClass, func(s *Source) uint64 { return s.ByClass[c] })
	}
}
