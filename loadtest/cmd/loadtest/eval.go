package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"

	"github.com/weir-net/weir/loadtest/eval"
)

func runEval(ctx context.Context, args []string) error {
	c := eval.Config{ID: uniqueID("v"), Out: os.Stdout, Progress: os.Stderr}
	flags := flag.NewFlagSet("eval", flag.ContinueOnError)
	flags.StringVar(&c.Bin, "bin", "", "directory of the binaries")
	flags.StringVar(&c.Captures, "captures", os.Getenv("WEIR_CAPTURES"), "directory of captures with a labels.json (WEIR_CAPTURES)")
	flags.BoolVar(&c.Quick, "quick", os.Getenv("QUICK") == "1", "fewer and shorter runs, and Weir's rules alone (QUICK=1)")
	flags.IntVar(&c.Parallel, "parallel", 8, "captures at once, 16 at most")
	flags.StringVar(&c.Only, "only", "", "the capture of this name alone")
	quiet := flags.Bool("q", false, "no line per run")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.Captures == "" {
		return errors.New("want -captures, or WEIR_CAPTURES in the environment")
	}
	if c.Parallel < 1 || c.Parallel > 16 {
		return errors.New("-parallel: want 1 to 16")
	}
	if *quiet {
		c.Progress = io.Discard
	}
	var err error
	if c.Bin, err = findBin(c.Bin); err != nil {
		return err
	}
	return eval.Run(ctx, c)
}
