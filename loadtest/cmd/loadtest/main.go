// Command loadtest tries Weir out: it builds a lab of network namespaces,
// floods it, replays captures into it and measures what happens.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/weir-net/weir/loadtest/lab"
)

// command is one subcommand.
type command struct {
	name, summary string
	run           func(ctx context.Context, args []string) error
	hidden        bool
}

func commands() []command {
	return []command{
		{name: "demo", summary: "flood a lab and watch Weir stop it", run: runDemo},
		{name: "run", summary: "run all services on a real interface, observing only", run: runServices},
		{name: "replay", summary: "play a capture into a lab, and compare the counts with its labels", run: runReplay},
		{name: "bench", summary: "measure what a packet costs, beside the floor and other designs", run: runDataplane},
		{name: "eval", summary: "hold the rules against labelled captures, and print what became of them", run: runEval},
		{name: "bench-page", summary: "write the page of the results of bench", run: runPage},
		{name: "bench-scale", summary: "measure how many interfaces the services keep up with", run: runScale},
		{name: "bench-ttm", summary: "measure the time to mitigate, and where it goes", run: runBench},
		{name: "synthesize", summary: "write captures of our own making, with labels", run: runSynthesize},
		{name: "clean", summary: "take down labs that were left", run: runClean},
		{name: "traffic", summary: "generate traffic inside a lab", run: runTraffic, hidden: true},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C ends at once; what is then left, the next run takes down
	}()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	if len(args) == 0 || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		usage()
		return 2
	}
	for _, c := range commands() {
		if c.name != args[0] {
			continue
		}
		err := c.run(ctx, args[1:])
		switch {
		case err == nil:
			return 0
		case errors.Is(err, flag.ErrHelp):
			return 2
		}
		fmt.Fprintf(os.Stderr, "loadtest %s: %v\n", c.name, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "loadtest: unknown command %q\n", args[0])
	usage()
	return 2
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: loadtest <command> [flags]; -h after a command lists its flags")
	for _, c := range commands() {
		if !c.hidden {
			fmt.Fprintf(os.Stderr, "  %-11s %s\n", c.name, c.summary)
		}
	}
}

func runClean(_ context.Context, args []string) error {
	flags := flag.NewFlagSet("clean", flag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return err
	}
	gone, err := lab.Sweep(true)
	for _, id := range gone {
		fmt.Println("took down lab", id)
	}
	return err
}
