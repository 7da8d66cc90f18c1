package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/peers"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
	"github.com/weir-net/weir/loadtest/bench/wire"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
)

// The published K-ONE experiment: an HTTP flood of 2,320 packets per second.
const (
	konePPS       = 2320
	koneTimes     = 100
	koneAttackers = 200
	// koneFrames is about how many frames reach the server per connection of
	// the HTTP flood, to come near the rate.
	koneFrames = 5
)

// Rows and columns that goals speak of.
const (
	rowIdle       = "idle: Weir on, no flood"
	rowUnfiltered = "not filtered"
	rowFiltered   = rowNative + ", dropping"
)

var (
	columnSYN = fmt.Sprintf("SYN, %d pps", konePPS)
	columnBig = fmt.Sprintf("SYN, %d pps", konePPS*koneTimes)
	colHTTP   = fmt.Sprintf("HTTP, about %d pps", konePPS)
)

// kone repeats the CPU experiment of K-ONE.
func kone(ctx context.Context, c Config) (tables []results.Experiment, err error) {
	method := fmt.Sprintf("%d sources flood a web server over veth. What the host does for a packet (driver, XDP, filter, stack, "+
		"answers) runs on a NAPI thread of its own, whose CPU time is added to the server's. HTTP cannot keep its rate when it is dropped.", koneAttackers)
	host := results.Experiment{ID: "kone", Title: "K-ONE's experiment: CPU of the host under attack", Unit: "% of one CPU", Versus: rowUnfiltered, Method: method}
	each := results.Experiment{
		ID: "kone-each", Title: "K-ONE's experiment: CPU of the host per packet that arrived", Unit: "µs", Versus: rowUnfiltered,
		Method: "The same numbers: a sender that is short of CPU does not reach its rate.",
	}
	machine := results.Experiment{
		ID: "kone-machine", Title: "K-ONE's experiment: the whole machine, the sender included", Unit: "% of all CPUs",
		Method: "From /proc/stat in the same runs; whatever else the machine does is in it.",
	}
	rate := results.Experiment{ID: "kone-pps", Title: "K-ONE's experiment: what arrived", Unit: "packets per second", Method: "In the same runs."}

	var b bench
	defer func() { err = errors.Join(err, b.close()) }()
	set, err := peers.Load(1 << 12)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { set.Close(); return nil })
	nothingAt, err := set.Program("nothing")
	if err != nil {
		return nil, err
	}
	w, err := b.addWeir(rowNative, xdp.Config{}, testrun.SYN())
	if err != nil {
		return nil, err
	}
	attackers := traffic.SourcesOf(lab.HTTPAttackers, koneAttackers)
	if _, err := load(w, dropsOf(attackers)); err != nil {
		return nil, err
	}
	v, err := wire.Open(c.LabID, 0)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, v.Close)
	x, err := v.NewExperiment(c.Bin, c.CPU)
	if err != nil {
		return nil, err
	}
	weir := wire.XDP(rowFiltered, w.Program, false)
	floods := []struct {
		column string
		flood  wire.Flooding
	}{
		{columnSYN, wire.SYNFlood(koneAttackers, konePPS)},
		{columnBig, wire.SYNFlood(koneAttackers, konePPS*koneTimes)},
		{colHTTP, wire.HTTPFlood(koneAttackers, konePPS/koneFrames)},
	}
	treatments := []wire.Treatment{
		wire.Nothing(rowUnfiltered), weir, wire.XDP(rowXDPDrop, nothingAt, false),
		wire.NFT(rowNFT, attackers), wire.IPSet(rowIPSet, attackers),
	}
	k := koneRun{ctx: ctx, c: c, x: x, host: &host, each: &each, machine: &machine, rate: &rate}
	idle := weir
	idle.Name = rowIdle
	for _, f := range floods {
		fmt.Fprintf(c.Log, "kone: %s\n", f.column)
		k.take(f.column, idle, nil)
		for _, t := range treatments {
			k.take(f.column, t, f.flood)
		}
	}
	if k.err != nil {
		return nil, k.err
	}
	return []results.Experiment{host, each, machine, rate}, nil
}

func dropsOf(sources []netip.Addr) []xdp.Entry {
	entries := make([]xdp.Entry, len(sources))
	for i, a := range sources {
		entries[i] = drop(netip.PrefixFrom(a, a.BitLen()))
	}
	return entries
}

// koneRun takes measurements until one fails.
type koneRun struct {
	ctx                       context.Context
	c                         Config
	x                         *wire.Experiment
	host, each, machine, rate *results.Experiment
	err                       error
}

// take measures one cell of the three tables, several times.
func (k *koneRun) take(column string, t wire.Treatment, flood wire.Flooding) {
	var host, each, machine, rate []float64
	for range min(5, max(1, k.c.Effort.Trials/3)) {
		if k.err != nil {
			return
		}
		h, err := k.x.Measure(k.ctx, t, flood, time.Second)
		if wire.Unavailable(err) {
			k.host.Skip(t.Name, column, err.Error())
			return
		}
		if err != nil {
			k.err = fmt.Errorf("%s, %s: %w", t.Name, column, err)
			return
		}
		host = append(host, h.Receiving+h.Serving)
		if flood != nil && h.PPS > 0 {
			const percentOfSecond = 1e4 // µs
			each = append(each, (h.Receiving+h.Serving)*percentOfSecond/h.PPS)
		}
		machine = append(machine, h.Machine)
		rate = append(rate, h.PPS)
	}
	for _, r := range []struct {
		table  *results.Experiment
		values []float64
	}{{k.host, host}, {k.each, each}, {k.machine, machine}, {k.rate, rate}} {
		if len(r.values) == 0 {
			continue
		}
		q := testrun.Quartiles(r.values)
		r.table.Add(t.Name, column, q[1], q[0], q[2])
	}
}
