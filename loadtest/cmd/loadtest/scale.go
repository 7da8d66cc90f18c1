package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/scale"
)

func runScale(ctx context.Context, args []string) error {
	c := scale.Config{ID: uniqueID("s"), Out: os.Stdout, Fleets: []int{100, 1000, 10_000}}
	flags := flag.NewFlagSet("bench-scale", flag.ContinueOnError)
	flags.StringVar(&c.Bin, "bin", "", "directory of the binaries")
	flags.IntVar(&c.Sources, "sources", 10, "sources of each interface in each window")
	flags.DurationVar(&c.Duration, "duration", 20*time.Second, "how long to measure each")
	flags.Func("interfaces", "sizes of the fleets, comma-separated (100,1000,10000)", func(text string) error {
		c.Fleets = nil
		for _, s := range strings.Split(text, ",") {
			n, err := strconv.Atoi(s)
			if err != nil || n < 1 {
				return fmt.Errorf("%q: want a number of interfaces", s)
			}
			c.Fleets = append(c.Fleets, n)
		}
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if c.Bin, err = findBin(c.Bin); err != nil {
		return err
	}
	return scale.Run(ctx, c)
}
