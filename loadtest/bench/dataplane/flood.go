package dataplane

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
)

// Rows and columns that goals speak of.
const (
	rowDefault    = "Weir, default size"
	rowUncounted  = "packets unaccounted for"
	columnFlood   = "16M"
	columnRoom    = "1M"
	floodPackets  = 4_000_000 // of the accounting, per number of sources
	floodPerChunk = 500_000
)

// flood measures more sources than the tables have room for, and whether every
// packet is accounted for.
func flood(ctx context.Context, c Config) (tables []results.Experiment, err error) {
	cost := results.Experiment{
		ID: "flood", Title: "Flood with more sources than records", Unit: "net ns per packet", Versus: rowFloor,
		Method: "Steady state: the tables are full and not drained. Default size is what the probe uses unless told otherwise. " +
			"Columns are compared: each has programs and tables of its own, and all take turns.",
	}
	exact := results.Experiment{
		ID: "exact", Title: "Accounting of the flood, default size", Unit: "packets",
		Method: "The picker counts what it hands over; the data plane's windows, drained after each portion, are summed up.",
	}
	counts := []uint32{1_000_000, 4_000_000, 16_000_000}
	if c.Quick {
		counts = []uint32{1_000_000, 16_000_000}
	}
	columns := make([]column, len(counts))
	small := make([]*testrun.Weir, len(counts))
	for i, n := range counts {
		b := &bench{}
		defer func() { err = errors.Join(err, b.close()) }()
		if err := b.addPeers(c.Entries, [][2]string{nothing, {rowFloor, "flat_batch"}, {rowStock, "lru_percpu"}, {rowKOne, "kone"}}); err != nil {
			return nil, err
		}
		if _, err := b.addWeir(rowWeir, xdp.Config{SourceWays: c.records()}, testrun.SYN()); err != nil {
			return nil, err
		}
		if small[i], err = b.addWeir(rowDefault, xdp.Config{}, testrun.SYN()); err != nil {
			return nil, err
		}
		columns[i] = column{b, firstSources(n)}
	}
	fmt.Fprintf(c.Log, "flood: to %s sources\n", count(counts[len(counts)-1]))
	if err := measureColumns(ctx, c, columns, &cost); err != nil {
		return nil, err
	}
	for i, n := range counts {
		if err := account(c, small[i], n, &exact); err != nil {
			return nil, err
		}
	}
	return []results.Experiment{cost, exact}, nil
}

// account sends packets of n sources and adds up what the windows say.
func account(c Config, w *testrun.Weir, n uint32, t *results.Experiment) (err error) {
	s, err := testrun.NewSubject(rowDefault, w.Program, testrun.SYN())
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Choose(1, n); err != nil {
		return err
	}
	if _, err := windows(w); err != nil { // what was measured before
		return err
	}
	var sent, counted, other uint64
	for range floodPackets / floodPerChunk {
		var got uint64
		err := testrun.On(c.CPU, func() (err error) {
			_, got, err = s.Run(floodPerChunk)
			return err
		})
		if err != nil {
			return err
		}
		sent += got
		window, err := windows(w)
		if err != nil {
			return err
		}
		counted += window.Totals.Packets
		sum := window.Other.Packets
		other += sum
		for _, s := range window.Sources.All() {
			sum += s.Packets
		}
		if sum != window.Totals.Packets {
			return fmt.Errorf("sources and other add up to %d packets, totals say %d", sum, window.Totals.Packets)
		}
	}
	t.Add("packets sent", count(n), float64(sent), 0, 0)
	t.Add("counted by source", count(n), float64(counted-other), 0, 0)
	t.Add("counted in other", count(n), float64(other), 0, 0)
	t.Add(rowUncounted, count(n), float64(sent)-float64(counted), 0, 0)
	return nil
}

// windows ends the open window and the one before it, if that is pending, and
// returns the last.
func windows(w *testrun.Weir) (xdp.Window, error) {
	d, err := w.Drain()
	if err != nil {
		return xdp.Window{}, fmt.Errorf("draining: %w", err)
	}
	w.Commit()
	if len(d.Windows) != 1 {
		return xdp.Window{}, fmt.Errorf("draining: %d windows, want 1", len(d.Windows))
	}
	return d.Windows[0], nil
}
