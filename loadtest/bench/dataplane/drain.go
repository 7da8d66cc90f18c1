package dataplane

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
)

// Rows and columns that goals speak of.
const (
	rowDrainWhole  = "flip, scan and clear"
	rowPerRecord   = "CPU time per record, ns"
	rowNotDrained  = "not drained"
	rowDraining    = "drained every 250 ms"
	columnSlowdown = "100k sources"
	windowLength   = 250 * time.Millisecond
	listed         = 1 << 17 // sources of a window, as in a probe by default
)

// drain measures how long a window takes to read, what that costs packets that
// arrive meanwhile, and whether any gets lost.
func drain(ctx context.Context, c Config) (tables []results.Experiment, err error) {
	speed := results.Experiment{
		ID: "drain", Title: fmt.Sprintf("Draining a window, sources seen by each of %d CPUs", runtime.NumCPU()), Unit: "ms, or as said",
		Method: "Time until it was done, on every CPU that the drain takes for itself; medians. A record is a source on one CPU, " +
			"and what it costs is the CPU time of all threads, to read and to clear it; the scan joins the records of a source, counts the " +
			"sources and lists as many as a probe publishes.",
	}
	slow := results.Experiment{
		ID: "slowdown", Title: "Data plane while windows are drained", Unit: "gross ns per packet", Versus: rowNotDrained,
		Method: "One CPU counts without pause, another drains; the picker is not subtracted.",
	}
	exact := results.Experiment{
		ID: "lossless", Title: "Accounting of all CPUs while windows are drained", Unit: "packets",
		Method: "All CPUs send at once, windows are drained every 250 ms; what was handed over is compared with the sum of all windows.",
	}
	var b bench
	defer func() { err = errors.Join(err, b.close()) }()
	w, err := b.addWeir(rowWeir, xdp.Config{SourceWays: c.Entries, MaxSources: listed}, testrun.SYN())
	if err != nil {
		return nil, err
	}
	for _, n := range []uint32{100_000, 1_000_000} {
		fmt.Fprintf(c.Log, "drain: %s sources\n", count(n))
		if err := drainSpeed(ctx, c, w, b.subjects[0], n, &speed); err != nil {
			return nil, err
		}
	}
	fmt.Fprintln(c.Log, "drain: slowdown")
	if err := slowdown(ctx, c, w, b.subjects[0], &slow); err != nil {
		return nil, err
	}
	fmt.Fprintln(c.Log, "drain: exactness")
	if err := lossless(ctx, c, w, &exact); err != nil {
		return nil, err
	}
	return []results.Experiment{speed, slow, exact}, nil
}

// drainSpeed lets every CPU see every source once and reads the window.
func drainSpeed(ctx context.Context, c Config, w *testrun.Weir, s *testrun.Subject, n uint32, t *results.Experiment) error {
	if err := s.Choose(1, n); err != nil {
		return err
	}
	if err := s.Settle(n); err != nil {
		return err
	}
	if _, err := windows(w); err != nil {
		return err
	}
	var flip, scan, clear, whole, perRecord []float64
	for range max(3, c.Effort.Trials/3) {
		if err := ctx.Err(); err != nil {
			return err
		}
		for cpu := range runtime.NumCPU() {
			if err := testrun.On(cpu, func() error { return s.Walk(n) }); err != nil {
				return err
			}
		}
		start, used := time.Now(), processTime()
		d, err := w.Drain()
		read := time.Since(start) - d.FlipWait
		if err != nil {
			return fmt.Errorf("draining: %w", err)
		}
		w.Commit()
		all := time.Since(start)
		used = processTime() - used
		// Every source has sent one packet per CPU: a packet is a record.
		records := d.Windows[0].Totals.Packets - d.Windows[0].Other.Packets
		flip = append(flip, milliseconds(d.FlipWait))
		scan = append(scan, milliseconds(read))
		clear = append(clear, milliseconds(all-read-d.FlipWait))
		whole = append(whole, milliseconds(all))
		perRecord = append(perRecord, float64(used.Nanoseconds())/float64(records))
	}
	for _, r := range []struct {
		row    string
		values []float64
	}{{"flip and grace period", flip}, {"scan", scan}, {"clear", clear}, {rowDrainWhole, whole}, {rowPerRecord, perRecord}} {
		q := testrun.Quartiles(r.values)
		t.Add(r.row, count(n), q[1], q[0], q[2])
	}
	return nil
}

// processTime is the CPU time of all threads.
func processTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0 // not possible: the clock exists since 2.6.12
	}
	return time.Duration(ts.Nano())
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// slowdown compares trials with and without a drain on another CPU.
func slowdown(ctx context.Context, c Config, w *testrun.Weir, s *testrun.Subject, t *results.Experiment) error {
	other := (c.CPU + 1) % runtime.NumCPU()
	if other == c.CPU {
		t.Skip(rowDraining, columnSlowdown, "needs two CPUs")
		return nil
	}
	if err := s.Choose(1, 100_000); err != nil {
		return err
	}
	samples := map[bool][]float64{}
	for range max(3, c.Effort.Trials/3) {
		for _, draining := range []bool{false, true} {
			if err := ctx.Err(); err != nil {
				return err
			}
			stop := func() error { return nil }
			if draining {
				stop = drainEvery(w, other, nil)
			}
			var cost float64
			err := testrun.On(c.CPU, func() error {
				used, n, err := s.RunFor(3 * windowLength)
				cost = float64(used.Nanoseconds()) / float64(n)
				return err
			})
			if err := errors.Join(err, stop()); err != nil {
				return err
			}
			samples[draining] = append(samples[draining], cost)
		}
	}
	for _, r := range []struct {
		row      string
		draining bool
	}{{rowNotDrained, false}, {rowDraining, true}} {
		q := testrun.Quartiles(samples[r.draining])
		t.Add(r.row, columnSlowdown, q[1], q[0], q[2])
	}
	return nil
}

// drainEvery drains on a CPU until the returned function is called, and hands
// each window on. The first drain is at once.
func drainEvery(w *testrun.Weir, cpu int, each func(*xdp.Window)) (stop func() error) {
	ended, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- testrun.On(cpu, func() error {
			tick := time.NewTicker(windowLength)
			defer tick.Stop()
			for {
				window, err := windows(w)
				if err != nil {
					return err
				}
				if each != nil {
					each(&window)
				}
				select {
				case <-ended:
					return nil
				case <-tick.C:
				}
			}
		})
	}()
	return func() error { close(ended); return <-done }
}

// lossless sends from all CPUs at once while windows are drained.
func lossless(ctx context.Context, c Config, w *testrun.Weir, t *results.Experiment) error {
	perCPU := uint64(50_000_000)
	if c.Quick {
		perCPU = 5_000_000
	}
	if _, err := windows(w); err != nil { // what was measured before
		return err
	}
	var counted, drains uint64
	note := func(window *xdp.Window) { counted += window.Totals.Packets; drains++ }
	stop := drainEvery(w, 0, note)
	var sent atomic.Uint64
	errs := make([]error, runtime.NumCPU())
	var senders sync.WaitGroup
	for cpu := range errs {
		senders.Go(func() { errs[cpu] = testrun.On(cpu, func() error { return sendExactly(ctx, w, perCPU, &sent) }) })
	}
	senders.Wait()
	if err := errors.Join(append(errs, stop())...); err != nil {
		return err
	}
	last, err := windows(w)
	if err != nil {
		return err
	}
	note(&last)
	column := columnCPUs(runtime.NumCPU())
	t.Add("packets sent", column, float64(sent.Load()), 0, 0)
	t.Add("windows drained", column, float64(drains), 0, 0)
	t.Add(rowUncounted, column, float64(sent.Load())-float64(counted), 0, 0)
	return nil
}

// sendExactly sends from a picker of its own: one is for one CPU at a time.
func sendExactly(ctx context.Context, w *testrun.Weir, packets uint64, sent *atomic.Uint64) error {
	s, err := testrun.NewSubject(rowWeir, w.Program, testrun.SYN())
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Choose(1, 100_000); err != nil {
		return err
	}
	for n := uint64(0); n < packets; {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, got, err := s.Run(500_000)
		if err != nil {
			return err
		}
		n += got
		sent.Add(got)
	}
	return nil
}
