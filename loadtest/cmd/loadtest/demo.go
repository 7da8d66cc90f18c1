package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/bench"
	"github.com/weir-net/weir/loadtest/demo"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/stack"
)

func runDemo(ctx context.Context, args []string) error {
	c := demo.Config{Out: os.Stdout, Terminal: isTerminal(os.Stdout)}
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&c.Bin, "bin", "", "directory of the binaries")
	flags.StringVar(&c.Brokers, "brokers", "", "bootstrap addresses of a broker that the lab's management link reaches; empty: an embedded one")
	flags.StringVar(&c.ID, "id", demo.DefaultID, "name of the lab; labs of different names stand side by side")
	flags.BoolVar(&c.Keep, "keep", os.Getenv("KEEP") == "1", "leave everything running at the end (KEEP=1)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if c.Bin, err = findBin(c.Bin); err != nil {
		return err
	}
	return demo.Run(ctx, c)
}

func runBench(ctx context.Context, args []string) error {
	c := bench.Config{ID: uniqueID("b"), Out: os.Stdout}
	flags := flag.NewFlagSet("bench-ttm", flag.ContinueOnError)
	flags.StringVar(&c.Bin, "bin", "", "directory of the binaries")
	flags.StringVar(&c.Brokers, "brokers", "", "bootstrap addresses of a broker that the lab's management link reaches; empty: an embedded one")
	flags.IntVar(&c.Rounds, "rounds", 20, "repeats of each attack, 50 at most")
	flags.DurationVar(&c.Attack, "attack", 3*time.Second, "length of each attack")
	flags.DurationVar(&c.P50, "p50", 600*time.Millisecond, "goal of the median")
	flags.DurationVar(&c.P99, "p99", 1500*time.Millisecond, "goal of the 99th percentile")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if c.Rounds < 1 || c.Rounds > 50 {
		return errors.New("rounds: want 1 to 50, since each has attackers of its own")
	}
	var err error
	if c.Bin, err = findBin(c.Bin); err != nil {
		return err
	}
	return bench.TimeToMitigate(ctx, c)
}

// runServices runs everything on an interface that is there, until a signal.
// Without "weir mode enforce" nothing is ever dropped.
func runServices(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	id := flags.String("id", "run", "name under which what is started is remembered, for clean")
	ifname := flags.String("iface", os.Getenv("IFACE"), "interface to watch (IFACE)")
	bin := flags.String("bin", "", "directory of the binaries")
	brokers := flags.String("brokers", os.Getenv("WEIR_KAFKA_BROKERS"), "bootstrap addresses; empty: an embedded broker (WEIR_KAFKA_BROKERS)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *ifname == "" {
		return errors.New("want -iface, or IFACE in the environment")
	}
	if err := checkInterface(*ifname); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("reading the host's name: %w", err)
	}
	dir, err := findBin(*bin)
	if err != nil {
		return err
	}
	l, err := lab.New(lab.Config{ID: *id, Bare: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	s, err := stack.Start(ctx, stack.Options{Bin: dir, Lab: l, Brokers: *brokers, Interface: *ifname, Host: host, Services: stack.All()})
	if err != nil {
		return err
	}
	fmt.Printf("Weir observes %s: it counts, and reports what it would drop, but drops nothing.\nThe page is at %s; in a terminal:\n  export %s\n  %s/weir ring\n  %s/weir top\n  %s/weir status\nLogs are in %s. Ctrl-C ends it.\n",
		s.Key, s.PageURL(), s.Environment(), dir, dir, dir, s.Dir)
	return s.Watch(ctx)
}

// checkInterface says at once what the probe would wait for: an interface of
// another name may appear some day, but here it is a slip.
func checkInterface(name string) error {
	all, err := net.Interfaces()
	if err != nil {
		return fmt.Errorf("listing interfaces: %w", err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	if !slices.Contains(names, name) {
		return fmt.Errorf("there is no interface %s; there are %s", name, strings.Join(names, ", "))
	}
	return nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
