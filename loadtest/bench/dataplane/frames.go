package dataplane

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
)

// Rows that goals speak of.
const (
	rowSYN  = "IPv4 SYN"
	rowUDP  = "IPv4 UDP"
	rowVLAN = "IPv4 SYN, VLAN tag"
	rowSYN6 = "IPv6 SYN"
)

// frames measures the whole program by the kind of packet.
func frames(ctx context.Context, c Config) (tables []results.Experiment, err error) {
	t := results.Experiment{
		ID: "frames", Title: "Cost per packet by kind of packet, whole program", Unit: "net ns per packet", Versus: rowSYN,
		Method: "Each kind meets a data plane of its own with an empty filter. IPv6 sources differ in their upper 64 bits.",
	}
	var b bench
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.addPeers(1, [][2]string{nothing}); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		row   string
		frame testrun.Frame
	}{{rowSYN, testrun.SYN()}, {rowUDP, testrun.UDP()}, {rowVLAN, testrun.VLAN()}, {rowSYN6, testrun.SYN6()}} {
		if _, err := b.addWeir(f.row, xdp.Config{SourceWays: c.records()}, f.frame); err != nil {
			return nil, err
		}
	}
	counts := []uint32{1, 100_000, 1_000_000}
	if c.Quick {
		counts = []uint32{100_000}
	}
	for _, n := range counts {
		fmt.Fprintf(c.Log, "frames: %s sources\n", count(n))
		if err := measure(ctx, c, &b, firstSources(n), &t); err != nil {
			return nil, err
		}
	}
	return []results.Experiment{t}, nil
}
