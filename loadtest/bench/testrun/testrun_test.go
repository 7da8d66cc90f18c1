package testrun

import (
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/peers"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("loading BPF needs root")
		}
		t.Skip("loading BPF needs root")
	}
}

// smallWeir has room for what the tests send.
func smallWeir(t *testing.T) *Weir {
	t.Helper()
	needRoot(t)
	w, err := OpenWeir(xdp.Config{SourceWays: 1 << 12, MaxLeases: 1 << 12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func subjectOf(t *testing.T, w *Weir, f Frame) *Subject {
	t.Helper()
	s, err := NewSubject("weir", w.Program, f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// TestSourcesAreThoseOfTheirNumbers holds the picker in the kernel, Address, the
// frames and the data plane's own parser against each other.
func TestSourcesAreThoseOfTheirNumbers(t *testing.T) {
	const first, n = 7, 300
	for name, f := range map[string]Frame{"SYN": SYN(), "UDP": UDP(), "VLAN": VLAN()} {
		t.Run(name, func(t *testing.T) {
			w := smallWeir(t)
			s := subjectOf(t, w, f)
			if err := s.Choose(first, n); err != nil {
				t.Fatal(err)
			}
			if err := s.Walk(2 * n); err != nil {
				t.Fatal(err)
			}
			got := sources(t, w)
			if len(got) != n {
				t.Fatalf("%d sources, want %d", len(got), n)
			}
			for i := range uint32(n) {
				if got[peers.Address(first+i)] != 2 {
					t.Fatalf("source %d (%v): %d packets, want 2", first+i, peers.Address(first+i), got[peers.Address(first+i)])
				}
			}
		})
	}
}

func sources(t *testing.T, w *Weir) map[netip.Addr]uint64 {
	t.Helper()
	d, err := w.Drain()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Commit()
	all := map[netip.Addr]uint64{}
	for _, s := range d.Windows[0].Sources.All() {
		all[s.Address] += s.Packets
	}
	return all
}

func TestIPv6SourcesStayApartWhenGroupedBy64(t *testing.T) {
	const n = 300
	w := smallWeir(t)
	s := subjectOf(t, w, SYN6())
	if err := s.Choose(1, n); err != nil {
		t.Fatal(err)
	}
	if err := s.Walk(n); err != nil {
		t.Fatal(err)
	}
	if got := sources(t, w); len(got) != n {
		t.Fatalf("%d sources, want %d", len(got), n)
	}
}

// TestEveryPacketIsCounted compares the picker's count with the data plane's.
func TestEveryPacketIsCounted(t *testing.T) {
	w := smallWeir(t)
	s := subjectOf(t, w, SYN())
	if err := s.Choose(1, 100_000); err != nil { // many more than there is room for
		t.Fatal(err)
	}
	var used time.Duration
	var n uint64
	err := On(0, func() (err error) { // the time is one thread's
		used, n, err = s.Run(200_000)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 200_000 || used <= 0 {
		t.Fatalf("%d packets in %v", n, used)
	}
	d, err := w.Drain()
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Windows[0].Totals.Packets; got != n {
		t.Errorf("the data plane counted %d packets, %d were sent", got, n)
	}
	if !d.Windows[0].Truncated {
		t.Error("100,000 sources found room in 4,096 records")
	}
}

// TestCompareTellsProgramsApart measures two peers whose costs differ tenfold. On a
// machine that is busy with something else a comparison may fail to; ten in a row do not.
func TestCompareTellsProgramsApart(t *testing.T) {
	needRoot(t)
	set, err := peers.Load(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	var subjects []*Subject
	for _, name := range []string{"nothing", "parse", "kone"} {
		p, err := set.Program(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewSubject(name, p, SYN())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		subjects = append(subjects, s)
	}
	var costs []Cost
	apart := false
	for attempt := 0; attempt < 10 && !apart; attempt++ {
		err = On(0, func() (err error) {
			costs, err = Compare(t.Context(), Effort{Trials: 5, Trial: 5 * time.Millisecond}, subjects, func(s *Subject) error {
				return s.Choose(1, 1000)
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if costs[0].Net != 0 {
			t.Errorf("the program that does nothing costs %v", costs[0])
		}
		apart = costs[2].Net >= 10 && costs[2].Net >= 2*costs[1].Net
	}
	if !apart {
		t.Errorf("two hash lookups cost %v, parsing %v", costs[2], costs[1])
	}
	for _, c := range costs {
		if !slices.IsSorted([]float64{c.Low, c.Net, c.High}) {
			t.Errorf("quartiles are not in order: %v", c)
		}
	}
}

func TestTheCalmerHalfCounts(t *testing.T) {
	trials := []trial{{net: 9, around: 40}, {net: 1, around: 30}, {net: 3, around: 32}, {net: 7, around: 41}, {net: 2, around: 31}}
	if got := calmest(trials); !slices.Equal(got, []float64{1, 2, 3}) {
		t.Errorf("%v", got)
	}
	if got := calmest(trials[:1]); len(got) != 1 {
		t.Errorf("of one: %v", got)
	}
}

func TestQuantile(t *testing.T) {
	for _, c := range []struct{ q, want float64 }{{0, 1}, {0.25, 1.75}, {0.5, 2.5}, {1, 4}} {
		if got := quantile([]float64{4, 1, 3, 2}, c.q); got != c.want {
			t.Errorf("quantile %v: %v, want %v", c.q, got, c.want)
		}
	}
}
