package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/bench/dataplane"
	"github.com/weir-net/weir/loadtest/bench/results"
)

// runDataplane measures what a packet costs.
func runDataplane(ctx context.Context, args []string) error {
	c := dataplane.Config{LabID: uniqueID("b"), Log: os.Stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "experiments to run, separated by commas; empty: all of "+strings.Join(dataplane.Names(), ", "))
	out := flags.String("o", "", "file to write the results to; experiments that are not run keep theirs")
	flags.IntVar(&c.Effort.Trials, "trials", 15, "trials per program")
	flags.DurationVar(&c.Effort.Trial, "trial", 50*time.Millisecond, "CPU time of a trial")
	flags.StringVar(&c.Bin, "bin", "", "directory of the binaries")
	flags.BoolVar(&c.Quick, "quick", false, "only what the goals need")
	flags.IntVar(&c.CPU, "cpu", 1, "CPU to measure on")
	flags.IntVar(&c.Entries, "entries", 1<<20, "sources that tables have room for, per CPU; a power of two")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.Effort.Trials < 1 || c.Entries < 1<<12 || c.Entries&(c.Entries-1) != 0 {
		return errors.New("want at least one trial, and a power of two from 4096 as entries")
	}
	wanted := strings.Split(*only, ",")
	for _, id := range wanted {
		if *only != "" && !slices.Contains(dataplane.Names(), id) {
			return fmt.Errorf("there is no experiment %q", id)
		}
	}
	var err error
	if c.Bin, err = findBin(c.Bin); err != nil {
		return err
	}
	report := &results.Report{}
	if *out != "" {
		if report, err = results.Load(*out); err != nil {
			return err
		}
	}
	report.Machine = results.ThisMachine()
	report.Machine.Trials, report.Machine.TrialMillis = c.Effort.Trials, c.Effort.Trial.Milliseconds()
	err = dataplane.Run(ctx, c, func(id string) bool { return *only == "" || slices.Contains(wanted, id) },
		func(e results.Experiment) {
			e.Print(os.Stdout)
			report.Replace(e)
		})
	if err != nil {
		return err
	}
	if *out == "" {
		return nil
	}
	return report.Save(*out)
}
