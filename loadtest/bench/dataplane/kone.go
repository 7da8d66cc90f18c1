package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
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
		Method: "From /proc/stat in the same runs, what was not idle, in steps of 10 ms; whatever else the machine does is in it.",
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
	ways := k.waysToReceive(attackers, treatments)
	return []results.Experiment{host, each, machine, rate, ways}, k.err
}

func dropsOf(sources []netip.Addr) []xdp.Entry {
	entries := make([]xdp.Entry, len(sources))
	for i, a := range sources {
		entries[i] = drop(netip.PrefixFrom(a, a.BitLen()))
	}
	return entries
}

// columnSoftirq is where the flood is taken up as most hosts do it.
const columnSoftirq = "softirq"

func columnThread(wait time.Duration) string {
	if wait == 0 {
		return "thread"
	}
	return "thread, waits " + wait.String()
}

// waysToReceive holds the slow flood against the ways in which a host can take
// packets up: at this rate they weigh more than the filter.
func (k *koneRun) waysToReceive(attackers []netip.Addr, treatments []wire.Treatment) results.Experiment {
	t := results.Experiment{
		ID: "kone-ways", Title: fmt.Sprintf("K-ONE's experiment at %d pps, by how the host receives", konePPS), Unit: "% of all CPUs, over idle", Versus: rowUnfiltered,
		Method: "Of one packet at a time, most of the cost is in being told of it. " +
			"*softirq*: as most NICs' drivers do it, on the CPU that gets the interrupt, without a thread; on veth that is within the sender's system call, whose CPU time " +
			"is measured, less that of the same call on an interface that frees the frame. What the interrupt itself costs is not in it. " +
			"*thread*: what is in the table above, by a thread that wakes up for every packet. " +
			"*waits*: the thread comes back after this time, and only then lets itself be woken (`gro_flush_timeout` with `napi_defer_hard_irqs` 1); " +
			"a packet waits that long at most. NICs moderate their interrupts by 10 to 100 µs, adaptive ones by less at low rates. Packets that come " +
			fmt.Sprintf("%d µs apart are not combined by that, neither by a NIC nor here, where the thread looks twice instead.", time.Second.Microseconds()/konePPS),
	}
	for _, wait := range []time.Duration{0, 100 * time.Microsecond, time.Millisecond, 2 * time.Millisecond} {
		fmt.Fprintf(k.c.Log, "kone: %s\n", columnThread(wait))
		if k.err == nil {
			k.err = k.x.Wait(wait)
		}
		for _, tr := range treatments {
			k.takeWay(&t, columnThread(wait), tr)
		}
	}
	if k.err == nil {
		k.err = k.softirq(&t, attackers, treatments)
	}
	return t
}

// takeWay measures one cell of the table of ways, with a thread.
func (k *koneRun) takeWay(t *results.Experiment, column string, tr wire.Treatment) {
	var points []float64
	for range min(5, max(1, k.c.Effort.Trials/3)) {
		if k.err != nil {
			return
		}
		h, err := k.x.Measure(k.ctx, tr, wire.SYNFlood(koneAttackers, konePPS), time.Second)
		if wire.Unavailable(err) {
			t.Skip(tr.Name, column, err.Error())
			return
		}
		if err != nil {
			k.err = fmt.Errorf("%s, %s: %w", tr.Name, column, err)
			return
		}
		// What the thread and the server use when idle is nothing: the table above.
		points = append(points, (h.Receiving+h.Serving)/float64(runtime.NumCPU()))
	}
	addQuartiles(t, tr.Name, column, points, nil)
}

// softirq measures the column without a thread.
func (k *koneRun) softirq(t *results.Experiment, attackers []netip.Addr, treatments []wire.Treatment) error {
	fmt.Fprintf(k.c.Log, "kone: %s\n", columnSoftirq)
	paced := wire.Paced{Sources: attackers, PPS: konePPS, Length: time.Second, Trials: max(1, k.c.Effort.Trials*2/3), CPU: k.c.CPU}
	samples, missing, err := k.x.SoftirqCost(k.ctx, paced, treatments)
	if err != nil {
		return err
	}
	for i, tr := range treatments {
		var points []float64
		for trial := range samples[1+i] {
			cost := samples[1+i][trial] - samples[0][trial]
			const percent = 100
			points = append(points, percent*cost.Seconds()*konePPS/float64(runtime.NumCPU()))
		}
		addQuartiles(t, tr.Name, columnSoftirq, points, missing[1+i])
	}
	return nil
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
