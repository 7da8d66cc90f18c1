package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
)

// runTraffic is what the other commands start inside a lab's namespaces.
func runTraffic(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("want serve, clients, http, udp or syn")
	}
	flags := flag.NewFlagSet("traffic "+args[0], flag.ContinueOnError)
	switch args[0] {
	case "serve":
		return runServe(ctx, args[1:])
	case "clients":
		return runClients(ctx, flags, args[1:])
	case "http":
		return runHTTP(ctx, flags, args[1:])
	case "udp", "syn":
		return runRaw(ctx, flags, args[1:], args[0] == "udp")
	}
	return fmt.Errorf("unknown traffic %q", args[0])
}

func runServe(ctx context.Context, args []string) error {
	addresses := make([]netip.AddrPort, 0, len(args))
	for _, a := range args {
		address, err := netip.ParseAddrPort(a)
		if err != nil {
			return fmt.Errorf("parsing address: %w", err)
		}
		addresses = append(addresses, address)
	}
	return traffic.Serve(ctx, addresses, func() { fmt.Println("ready") })
}

func runClients(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var o traffic.OrdinaryClients
	flags.TextVar(&o.Server, "server", netip.AddrPort{}, "address of the web server")
	flags.Func("sources", "client addresses, comma-separated", addresses(&o.Sources))
	flags.Float64Var(&o.Rate, "rate", 5, "requests per second of each client")
	flags.IntVar(&o.NewEvery, "new-every", 10, "every n-th request takes a new connection")
	flags.DurationVar(&o.Timeout, "timeout", 3*time.Second, "a slower request has failed")
	flags.DurationVar(&o.Duration, "duration", 0, "how long; 0: until stopped")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return o.Run(ctx, os.Stdout)
}

func runHTTP(ctx context.Context, flags *flag.FlagSet, args []string) error {
	var h traffic.HTTPFlood
	flags.TextVar(&h.Server, "server", netip.AddrPort{}, "address of the web server")
	flags.Func("sources", "attackers' addresses, comma-separated", addresses(&h.Sources))
	flags.IntVar(&h.Workers, "workers", 32, "workers over all sources")
	flags.Float64Var(&h.Rate, "rate", 0, "connections per second over all workers; 0: as many as possible")
	flags.DurationVar(&h.Duration, "duration", 0, "how long; 0: until stopped")
	if err := flags.Parse(args); err != nil {
		return err
	}
	_, err := h.Run(ctx, os.Stdout)
	return err
}

func runRaw(ctx context.Context, flags *flag.FlagSet, args []string, udp bool) error {
	r := traffic.RawFlood{Interface: lab.DataInterface, UDP: udp}
	to := netip.AddrPortFrom(lab.VictimAddress, 80)
	spoofed := 0
	flags.TextVar(&to, "to", to, "victim's address and port")
	flags.Func("sources", "attackers' addresses, comma-separated", addresses(&r.Sources))
	flags.IntVar(&spoofed, "spoofed", 0, "so many made-up sources instead")
	flags.Float64Var(&r.PPS, "pps", 0, "packets per second; 0: as many as possible")
	flags.IntVar(&r.Payload, "payload", 32, "bytes of a datagram")
	flags.Uint64Var(&r.Count, "count", 0, "stop after so many packets; 0: do not")
	flags.Uint64Var(&r.Seed, "seed", 1, "of random ports and made-up sources")
	flags.DurationVar(&r.Duration, "duration", 0, "how long; 0: until stopped")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r.Destination, r.Port = to.Addr(), to.Port()
	if spoofed > 0 {
		r.Sources = traffic.SpoofedSources(spoofed, uint32(r.Seed))
	}
	_, err := r.Run(ctx, os.Stdout)
	return err
}

func addresses(into *[]netip.Addr) func(string) error {
	return func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			a, err := netip.ParseAddr(part)
			if err != nil {
				return err
			}
			*into = append(*into, a)
		}
		return nil
	}
}
