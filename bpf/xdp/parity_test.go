package xdp

import (
	"cmp"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// TestTCXEqualsXDP runs the same random frames through both programs, each on a
// slot of its own, under the same leases. Whatever one counts and decides the
// other must as well.
func TestTCXEqualsXDP(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	g := frames{Rand: rand.New(rand.NewPCG(seed, 0))}
	r := newRig(t, Config{SourceWays: 1 << 18})
	r.use(1, FilterEnforce)
	if lacksTCX() {
		t.Skip("this kernel has no TCX")
	}
	tcx, err := r.loadProgram(1, "weir_tcx", variant{})
	if err != nil {
		t.Fatal(err)
	}
	defer tcx.Close()
	r.programs[1] = tcx
	r.put(
		Entry{Match: source("203.0.113.1/32"), Interfaces: 3, Action: ActionDrop},
		Entry{Match: source("203.0.113.4/30"), Interfaces: 3, Action: ActionDrop},
		Entry{Match: source("2001:db8::/64"), Interfaces: 3, Action: ActionObserve},
		Entry{Match: Match{Protocol: 17, DestinationPort: 80}, Interfaces: 3, Action: ActionDrop},
		Entry{Match: source("203.0.113.5/32"), Interfaces: 3, Action: ActionAllow},
	)
	var sum Counters
	for range 20 {
		for range 200 { // so few that no table is full, which depends on the order
			sameVerdict(t, r, g.frame())
		}
		out, err := r.Drain()
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Windows) != 2 {
			t.Fatalf("%d windows", len(out.Windows))
		}
		compareWindows(t, &out.Windows[0], &out.Windows[1])
		addUp(&sum, &out.Windows[0].Totals)
		r.Commit()
	}
	if sum.Packets < 1000 || sum.Dropped == 0 {
		t.Errorf("the frames show too little: %+v", sum)
	}
	a, err := r.Verdicts(0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Verdicts(1)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(a, b) || len(a) < 6 {
		t.Errorf("verdicts of XDP %v, of TCX %v", a, b)
	}
}

// sameVerdict runs a frame through XDP on slot 0 and TCX on slot 1.
func sameVerdict(t *testing.T, r *rig, f frame) {
	t.Helper()
	if len(f) < 14 || len(f) > 2000 {
		return
	}
	got, err := r.programs[1].Run(&ebpf.RunOptions{Data: f})
	if errors.Is(err, unix.EINVAL) && (len(f) == 14 || dissect(f).class == cMalformed) {
		return // the kernel runs no socket buffer whose IP header is cut short
	}
	if err != nil {
		t.Fatalf("running %x: %v", f, err)
	}
	want := r.run(0, f, 1)
	const tcxNext, tcxDrop = 1<<32 - 1, 2
	if (want == xdpPass) != (got == tcxNext) || (want == xdpDrop) != (got == tcxDrop) {
		t.Fatalf("XDP returns %d, TCX %d for %x", want, got, f)
	}
}

func compareWindows(t *testing.T, a, b *Window) {
	t.Helper()
	if a.Totals != b.Totals || a.String() != b.String() || a.NonIPBytes != b.NonIPBytes || a.MalformedBytes != b.MalformedBytes {
		t.Errorf("XDP counted %s, %d, %d\nTCX counted %s, %d, %d", a, a.NonIPBytes, a.MalformedBytes, b, b.NonIPBytes, b.MalformedBytes)
	}
	sorted := func(w *Window) (all []Source) {
		for _, s := range w.Sources.All() {
			s.PortPairs = 0 // of which packets they are taken, depends on the slot
			all = append(all, *s)
		}
		slices.SortFunc(all, func(x, y Source) int { return x.Address.Compare(y.Address) })
		return all
	}
	// Where records find room depends on the slot too, but the sources that did not are few.
	if x, y := sorted(a), sorted(b); !slices.Equal(x, y) && !a.Truncated && !b.Truncated || len(x) < 8 {
		t.Errorf("XDP counted sources\n%+v\nTCX\n%+v", x, y)
	}
	byTarget := func(x, y Target) int {
		return cmp.Or(x.Destination.Compare(y.Destination), cmp.Compare(x.Class, y.Class), cmp.Compare(x.Protocol, y.Protocol), cmp.Compare(x.Port, y.Port))
	}
	for _, w := range []*Window{a, b} { // which bits, depends on the slot
		for i := range w.Targets {
			w.Targets[i].SourceBits = min(w.Targets[i].SourceBits, 1)
		}
		slices.SortFunc(w.Targets, byTarget)
	}
	if !slices.Equal(a.Targets, b.Targets) {
		t.Errorf("XDP counted targets\n%+v\nTCX\n%+v", a.Targets, b.Targets)
	}
}
