package dataplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/peers"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
	"github.com/weir-net/weir/loadtest/bench/wire"
)

// columnTCP names what goals speak of: one stream at the usual MTU.
func columnTCP(mtu int) string { return fmt.Sprintf("MTU %d", mtu) }

// tcp measures bulk TCP by the mode in which the program is attached.
func tcp(ctx context.Context, c Config) (tables []results.Experiment, err error) {
	t := results.Experiment{
		ID: "tcp", Title: "Bulk TCP over veth by attach mode, one stream", Unit: "Gbit/s", Versus: rowNone,
		Method: "A sender and a receiver in two namespaces, half a second per trial, the modes taking turns. " +
			"Native XDP on veth switches segmentation offload off at the peer, whatever the program does.",
	}
	perCPU := results.Experiment{
		ID: "tcp-cpu", Title: "Bulk TCP over veth by attach mode, by CPU time", Unit: "Gbit per second of CPU time", Versus: rowNone,
		Method: "In the same trials; CPU time of sender and receiver with what the kernel does on their behalf, so that whatever else the machine does hardly matters.",
	}
	var b bench
	defer func() { err = errors.Join(err, b.close()) }()
	set, err := peers.Load(1 << 12)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { set.Close(); return nil })
	pass, err := set.Program("pass")
	if err != nil {
		return nil, err
	}
	w, err := b.addWeir(rowNative, xdp.Config{}, testrun.SYN())
	if err != nil {
		return nil, err
	}
	treatments := []wire.Treatment{
		wire.Nothing(rowNone), wire.XDP(rowXDPPass, pass, false), wire.XDP(rowNative, w.Program, false),
		wire.XDP(rowGeneric, w.Program, true), wire.WeirAs(rowTCX, "tcx", xdp.Config{}),
	}
	for _, mtu := range []int{1500, 9000} {
		if c.Quick && mtu != 1500 {
			continue
		}
		fmt.Fprintf(c.Log, "tcp: MTU %d\n", mtu)
		if err := throughput(ctx, c, mtu, treatments, &t, &perCPU); err != nil {
			return nil, err
		}
	}
	return []results.Experiment{t, perCPU}, nil
}

func throughput(ctx context.Context, c Config, mtu int, treatments []wire.Treatment, t, perCPU *results.Experiment) (err error) {
	v, err := wire.Open(c.LabID, mtu)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	rates, missing, err := v.Throughput(ctx, max(3, c.Effort.Trials*2/3), 500*time.Millisecond, 1, treatments)
	if err != nil {
		return err
	}
	for i, tr := range treatments {
		if missing[i] != nil {
			t.Skip(tr.Name, columnTCP(mtu), missing[i].Error())
			perCPU.Skip(tr.Name, columnTCP(mtu), missing[i].Error())
			continue
		}
		for table, q := range map[*results.Experiment][3]float64{t: rates[i].Gbits, perCPU: rates[i].PerCPU} {
			table.Add(tr.Name, columnTCP(mtu), q[1], q[0], q[2])
		}
	}
	return nil
}
