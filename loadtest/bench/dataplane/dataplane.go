// Package dataplane has the experiments on what Weir costs a packet: each is a
// function that measures and returns a table of numbers.
package dataplane

import (
	"context"
	"fmt"
	"io"

	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
)

// Config is common to all experiments.
type Config struct {
	Effort  testrun.Effort
	Quick   bool   // fewer source counts: what the goals need
	CPU     int    // where programs are measured
	Entries int    // sources that every table has room for, per CPU
	LabID   string // of the namespaces that are made
	Bin     string // directory of the binaries
	Log     io.Writer
}

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

// Run runs the experiments that want accepts and hands on each table as soon as
// it is complete.
func Run(ctx context.Context, c Config, want func(id string) bool, done func(results.Experiment)) error {
	for _, e := range plan() {
		if !want(e.id) {
			continue
		}
		tables, err := e.run(ctx, c)
		for _, t := range tables {
			done(t)
		}
		if err != nil {
			return fmt.Errorf("experiment %s: %w", e.id, err)
		}
	}
	return nil
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
