// Package scale measures how many interfaces an aggregator and a policy keep up
// with: counts records of a made-up fleet go to a broker as real probes would
// send them, and the services' processor time is read from the kernel.
package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/stack"
)

// Config says what to measure.
type Config struct {
	ID, Bin  string
	Fleets   []int // interfaces, one measurement each
	Sources  int   // of each interface and window
	Duration time.Duration
	Out      io.Writer
}

// window is how often each interface reports.
const window = 250 * time.Millisecond

// result is one measurement.
type result struct {
	interfaces         int
	written, processed uint64 // windows, while it was measured
	span               time.Duration
	used               map[stack.Service]usage
}

// usage is what a service took.
type usage struct {
	processor time.Duration
	resident  int // bytes, in the end
}

// services are those that are measured.
func services() []stack.Service { return []stack.Service{stack.Aggregator, stack.Policy} }

// Run measures and prints.
func Run(ctx context.Context, c Config) error {
	var results []result
	for _, n := range c.Fleets {
		r, err := c.measure(ctx, n)
		if err != nil {
			return fmt.Errorf("%d interfaces: %w", n, err)
		}
		results = append(results, r)
	}
	return c.print(results)
}

// measure runs one fleet on services of its own.
func (c Config) measure(ctx context.Context, interfaces int) (_ result, err error) {
	l, err := lab.New(lab.Config{ID: c.ID, Bare: true})
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s, err := stack.Start(ctx, stack.Options{Bin: c.Bin, Lab: l, Services: services()})
	if err != nil {
		return result{}, err
	}
	f, err := newFleet(s, interfaces, c.Sources)
	if err != nil {
		return result{}, err
	}
	defer f.close()
	m := &meter{stack: s, admin: kadm.NewClient(f.client)}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- f.run(ctx) }()
	defer func() { stop(); err = errors.Join(err, <-done) }()
	// Until every sliding window is full, the services do not do all their work.
	if err := wait(ctx, done, 11*time.Second); err != nil {
		return result{}, err
	}
	before, err := m.read(ctx)
	if err != nil {
		return result{}, err
	}
	if err := wait(ctx, done, c.Duration); err != nil {
		return result{}, err
	}
	after, err := m.read(ctx)
	if err != nil {
		return result{}, err
	}
	r := result{
		interfaces: interfaces, written: after.written - before.written, processed: after.processed - before.processed,
		span: after.at.Sub(before.at), used: make(map[stack.Service]usage),
	}
	for _, service := range services() {
		r.used[service] = usage{after.processor[service] - before.processor[service], after.resident[service]}
	}
	return r, nil
}

// wait ends early with the error of the fleet.
func wait(ctx context.Context, done chan error, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-done:
		done <- nil
		return fmt.Errorf("the fleet ended by itself: %w", err)
	case <-t.C:
		return nil
	}
}

func (c Config) print(results []result) error {
	w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "interfaces\tsources each\twindows written/s\tprocessed/s\taggregator: ms per 1,000 windows\tMiB\tinterfaces per processor\t"+
		"policy: ms per 1,000\tMiB\tinterfaces per processor\tboth on one\t\n")
	for _, r := range results {
		seconds := r.span.Seconds()
		a, p := r.used[stack.Aggregator], r.used[stack.Policy]
		// The policy reads what the aggregator has processed. What it leaves unread at the
		// end is at most what it fetches at once.
		aggregator, policy := r.each(a), r.each(p)
		fmt.Fprintf(w, "%d\t%d\t%.0f\t%.0f\t%.1f\t%d\t%.0f\t%.1f\t%d\t%.0f\t%.0f\t\n", r.interfaces, c.Sources,
			float64(r.written)/seconds, float64(r.processed)/seconds, milliseconds(aggregator), a.resident>>20, perProcessor(aggregator),
			milliseconds(policy), p.resident>>20, perProcessor(policy), perProcessor(aggregator+policy))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// each is the processor time of a service for one window, user and system. On a busy
// machine it says more than how many windows were processed.
func (r *result) each(u usage) time.Duration {
	return u.processor / time.Duration(max(1, r.processed))
}

// milliseconds is what 1,000 windows take if one takes each.
func milliseconds(each time.Duration) float64 { return (1000 * each).Seconds() * 1000 }

// perProcessor is how many interfaces one processor serves.
func perProcessor(each time.Duration) float64 { return window.Seconds() / max(each.Seconds(), 1e-9) }
