package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/bench/dataplane"
	"github.com/weir-net/weir/loadtest/bench/paper"
	"github.com/weir-net/weir/loadtest/bench/results"
)

// resultsFile is where a report is kept, in the directory of its page.
const resultsFile = "dataplane.json"

// runDataplane measures what a packet costs.
func runDataplane(ctx context.Context, args []string) error {
	c := dataplane.Config{LabID: uniqueID("b"), Log: os.Stderr}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	only := flags.String("only", "", "experiments to run, separated by commas; empty: all of "+strings.Join(dataplane.Names(), ", "))
	dir := flags.String("o", "", "directory for the results and their page; experiments that are not run keep their results")
	check := flags.Bool("check", false, "a quick run of what goals 1 to 6 need; fails when one is missed twice")
	flags.IntVar(&c.Effort.Trials, "trials", 15, "trials per program")
	flags.DurationVar(&c.Effort.Trial, "trial", 50*time.Millisecond, "CPU time of a trial")
	flags.StringVar(&c.Bin, "bin", "", "directory of the binaries")
	flags.BoolVar(&c.Quick, "quick", false, "only what the goals need")
	flags.IntVar(&c.CPU, "cpu", runtime.NumCPU()-1, "CPU to measure on")
	flags.IntVar(&c.Entries, "entries", 1<<20, "sources that tables have room for, per CPU; a power of two")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.Effort.Trials < 1 || c.Entries < 1<<12 || c.Entries&(c.Entries-1) != 0 {
		return errors.New("want at least one trial, and a power of two from 4096 as entries")
	}
	var err error
	if c.Bin, err = findBin(c.Bin); err != nil {
		return err
	}
	if *check {
		c.Quick, c.Effort = true, dataplane.QuickEffort()
		return dataplane.Check(ctx, c, os.Stdout)
	}
	wanted := dataplane.Names()
	if *only != "" {
		wanted = strings.Split(*only, ",")
	}
	report := &results.Report{}
	if *dir != "" {
		if err := os.MkdirAll(*dir, 0o755); err != nil { // now: measuring takes minutes
			return err
		}
		if report, err = results.Load(filepath.Join(*dir, resultsFile)); err != nil {
			return err
		}
	}
	report.Machine = results.ThisMachine()
	report.Machine.Trials, report.Machine.TrialMillis = c.Effort.Trials, c.Effort.Trial.Milliseconds()
	fmt.Fprintf(os.Stderr, "load average %s: what else runs here is noise in the results\n", report.Machine.Load)
	start := time.Now()
	var saving error
	failed := dataplane.Run(ctx, c, wanted, func(e results.Experiment) {
		e.Commit = report.Machine.Commit
		e.Print(os.Stdout)
		report.Replace(e)
		if *dir != "" { // at once: what comes later may fail
			saving = errors.Join(saving, report.Save(filepath.Join(*dir, resultsFile)))
		}
	})
	failed = errors.Join(failed, saving)
	report.Goals = dataplane.Goals(report)
	results.PrintGoals(os.Stdout, report.Goals, *only == "")
	fmt.Fprintf(os.Stderr, "measured for %s\n", time.Since(start).Round(time.Second))
	if *dir == "" {
		return failed
	}
	return errors.Join(failed, report.Save(filepath.Join(*dir, resultsFile)), paper.Write(report, dataplane.Summary(report), *dir))
}

// runPage writes the page of results that were measured before.
func runPage(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("bench-page", flag.ContinueOnError)
	dir := flags.String("o", filepath.Join("loadtest", "results"), "directory of the results")
	if err := flags.Parse(args); err != nil {
		return err
	}
	report, err := results.Load(filepath.Join(*dir, resultsFile))
	if err != nil {
		return err
	}
	if len(report.Experiments) == 0 {
		return fmt.Errorf("there are no results in %s", *dir)
	}
	report.Goals = dataplane.Goals(report)
	return paper.Write(report, dataplane.Summary(report), *dir)
}
