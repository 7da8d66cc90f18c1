package dataplane

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/peers"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
)

// Rows that goals and plots speak of.
const (
	rowFloor = "floor: flat table, batches of 32"
	rowStock = "LRU_PERCPU_HASH"
	rowKOne  = "K-ONE: two HASH, atomic"
	rowWeir  = "Weir, whole program"
)

// bench is the subjects of one comparison and what they run on.
type bench struct {
	subjects []*testrun.Subject
	closers  []func() error
}

func (b *bench) add(s *testrun.Subject, err error) error {
	if err != nil {
		return err
	}
	b.subjects = append(b.subjects, s)
	return nil
}

func (b *bench) close() error {
	var errs []error
	for _, s := range b.subjects {
		s.Close()
	}
	for i := len(b.closers) - 1; i >= 0; i-- {
		errs = append(errs, b.closers[i]())
	}
	return errors.Join(errs...)
}

// addPeers loads the peers and makes subjects of those named, by row.
func (b *bench) addPeers(entries int, named [][2]string) error {
	set, err := peers.Load(entries)
	if err != nil {
		return err
	}
	b.closers = append(b.closers, func() error { set.Close(); return nil })
	for _, n := range named {
		p, err := set.Program(n[1])
		if err != nil {
			return err
		}
		if err := b.add(testrun.NewSubject(n[0], p, testrun.SYN())); err != nil {
			return err
		}
	}
	return nil
}

// addWeir opens a data plane and makes a subject of it.
func (b *bench) addWeir(row string, cfg xdp.Config, f testrun.Frame) (*testrun.Weir, error) {
	w, err := testrun.OpenWeir(cfg)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, w.Close)
	return w, b.add(w.Subject(row, f))
}

// nothing is the program that is subtracted; it comes first.
var nothing = [2]string{"nothing", "nothing"}

// stages measures the whole program against the floor and the stock designs at
// each number of sources.
func stages(ctx context.Context, c Config) (tables []results.Experiment, err error) {
	t := results.Experiment{
		ID: "stages", Title: "Cost per packet by number of sources, empty filter", Unit: "net ns per packet", Versus: rowFloor,
		Method: "Every packet is a TCP SYN from a source picked at random. Every program has room for " +
			count(uint32(c.Entries)) + " sources: the kernel's maps as many entries for all CPUs, the flat tables twice as many records per CPU, " +
			"because with as many as sources every fifth would find its set full.",
	}
	var b bench
	defer func() { err = errors.Join(err, b.close()) }()
	err = b.addPeers(c.Entries, [][2]string{
		nothing, {"parse", "parse"}, {"flat table, one by one", "flat"}, {rowFloor, "flat_batch"},
		{rowStock, "lru_percpu"}, {rowKOne, "kone"},
	})
	if err != nil {
		return nil, err
	}
	if _, err := b.addWeir(rowWeir, xdp.Config{SourceWays: c.records()}, testrun.SYN()); err != nil {
		return nil, err
	}
	counts := []uint32{1, 1000, 10_000, 100_000, 1_000_000, 16_000_000}
	if c.Quick {
		counts = []uint32{1, 1000, 100_000, 1_000_000}
	}
	for _, n := range counts {
		fmt.Fprintf(c.Log, "stages: %s sources\n", count(n))
		if err := measure(ctx, c, &b, firstSources(n), &t); err != nil {
			return nil, err
		}
	}
	return []results.Experiment{t}, nil
}

// sources are those that packets come from, and the column that they make.
type sources struct {
	first, count uint32
	column       string
}

func firstSources(n uint32) sources { return sources{1, n, count(n)} }

// measure compares the subjects with packets from the sources and adds a column.
func measure(ctx context.Context, c Config, b *bench, from sources, t *results.Experiment) error {
	return measureColumns(ctx, c, []column{{b, from}}, t)
}

// column is a bench that is measured with packets from some sources.
type column struct {
	*bench
	from sources
}

// measureColumns is measure for columns that are compared with each other: all their
// subjects take turns.
func measureColumns(ctx context.Context, c Config, columns []column, t *results.Experiment) error {
	var all []*testrun.Subject
	from := make(map[*testrun.Subject]sources)
	for _, k := range columns {
		all = append(all, k.subjects...)
		for _, s := range k.subjects {
			from[s] = k.from
		}
	}
	var costs []testrun.Cost
	err := testrun.On(c.CPU, func() (err error) {
		costs, err = testrun.Compare(ctx, c.Effort, all, func(s *testrun.Subject) error {
			if err := s.Choose(from[s].first, from[s].count); err != nil {
				return err
			}
			return s.Settle(min(from[s].count, 2*uint32(c.records()))) // every source, or more than there is room for
		})
		return err
	})
	if err != nil {
		return err
	}
	for i, s := range all {
		if s.Name != nothing[0] {
			t.Add(s.Name, from[s].column, costs[i].Net, costs[i].Low, costs[i].High)
		}
	}
	return nil
}
