// Package dataplane has the experiments on what Weir costs a packet: each is a
// function that measures and returns tables of numbers.
package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/weir-net/weir/loadtest/bench/peers"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
)

// Config is common to all experiments.
type Config struct {
	Effort  testrun.Effort
	Quick   bool   // fewer columns: what the goals need
	CPU     int    // where programs are measured
	Entries int    // sources that every table has room for, per CPU
	LabID   string // of the namespaces that are made
	Bin     string // directory of the binaries
	Log     io.Writer
}

// records is how many records per CPU a flat table has that has room for Entries.
func (c Config) records() int { return peers.RecordsPerSource * c.Entries }

// experiment is one entry of the plan.
type experiment struct {
	id  string
	run func(context.Context, Config) ([]results.Experiment, error)
}

func plan() []experiment {
	return []experiment{
		{"stages", stages},
		{"leases", leases},
		{"frames", frames},
		{"flood", flood},
		{"drain", drain},
		{"live", live},
		{"tcp", tcp},
		{"kone", kone},
	}
}

// Names returns the experiments in the order in which Run runs them.
func Names() (names []string) {
	for _, e := range plan() {
		names = append(names, e.id)
	}
	return names
}

// Run runs experiments by name, in their own order, and hands on each table as
// soon as it is complete. One that fails does not keep the others from running.
func Run(ctx context.Context, c Config, names []string, done func(results.Experiment)) error {
	for _, name := range names {
		if !slices.Contains(Names(), name) {
			return fmt.Errorf("there is no experiment %q", name)
		}
	}
	var failed error
	for _, e := range plan() {
		if !slices.Contains(names, e.id) || ctx.Err() != nil {
			continue
		}
		start := time.Now()
		tables, err := e.run(ctx, c)
		for _, t := range tables {
			done(t)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("experiment %s: %w", e.id, err))
			continue
		}
		fmt.Fprintf(c.Log, "%s: took %s\n", e.id, time.Since(start).Round(time.Second))
	}
	return errors.Join(failed, ctx.Err())
}

// count names a number of sources.
func count(n uint32) string {
	switch {
	case n >= 1_000_000:
		return fmt.Sprintf("%dM", n/1_000_000)
	case n >= 1000:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprint(n)
}
