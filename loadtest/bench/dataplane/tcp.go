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

// tcpPairs are the rows of which one is divided by the other.
var tcpPairs = [][2]string{
	{rowTCX, rowNone}, {rowTCX, rowTCXNext}, {rowTCXNext, rowNone},
	{rowNative, rowNone}, {rowNative, rowXDPPass}, {rowXDPPass, rowNone}, {rowGeneric, rowNone},
}

func pairOf(row, base string) string { return row + " / " + base }

// tcpTables are what bulk TCP is measured for.
type tcpTables struct{ rate, perCPU, step, paired results.Experiment }

func newTCPTables() *tcpTables {
	return &tcpTables{
		rate: results.Experiment{
			ID: "tcp", Title: "Bulk TCP over veth by attach mode, one stream", Unit: "Gbit/s", Versus: rowNone,
			Method: "A sender and a receiver in two namespaces, a new connection and half a second per trial, the modes taking turns. " +
				"Native XDP on veth switches segmentation offload off at the peer, whatever the program does. " +
				"Which CPU the two threads get, and how often they wait for each other, changes from trial to trial by more than the programs do.",
		},
		perCPU: results.Experiment{
			ID: "tcp-cpu", Title: "Bulk TCP over veth by attach mode, by CPU time", Unit: "Gbit per second of CPU time", Versus: rowNone,
			Method: "In the same trials; CPU time of sender and receiver with what the kernel does on their behalf.",
		},
		step: results.Experiment{
			ID: "tcp-step", Title: "Bulk TCP over veth by attach mode, in lockstep", Unit: "Gbit per second of CPU time", Versus: rowNone,
			Method: "One thread on one CPU writes 64 KiB and reads them at the other end, where they have arrived by then: no thread waits for another, " +
				"and nothing but the way through the kernel takes CPU time. A byte costs less than between two threads, so that a program's share of it is " +
				"larger. Each mode has a wire of its own, with the program attached; they take turns of a millisecond and change wires now and then. " +
				"XDP_PASS and TCX_NEXT alone are programs that do nothing else: they show what the hook costs. Generic XDP copies each packet and gives the " +
				"sender's memory back at once: with so little under way it is probably used again while it is in the cache, which flatters that row.",
		},
		paired: results.Experiment{
			ID: "tcp-paired", Title: "Bulk TCP over veth: a mode against its control", Unit: "ratio within a round of lockstep",
			Method: "Of the same turns: the median of the ratios of turns in the same round, which were a few milliseconds apart. " +
				"What disturbs the machine for longer is in both.",
		},
	}
}

// tcp measures bulk TCP by the mode in which the program is attached.
func tcp(ctx context.Context, c Config) (tables []results.Experiment, err error) {
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
	next, err := set.Program("next")
	if err != nil {
		return nil, err
	}
	w, err := b.addWeir(rowNative, xdp.Config{}, testrun.SYN())
	if err != nil {
		return nil, err
	}
	tcx, err := b.openTCX(rowTCX, xdp.Config{})
	if err != nil {
		return nil, err
	}
	treatments := []wire.Treatment{
		wire.Nothing(rowNone), wire.XDP(rowXDPPass, pass, false), wire.XDP(rowNative, w.Program, false),
		wire.XDP(rowGeneric, w.Program, true), wire.TCX(rowTCXNext, next), tcx,
	}
	t := newTCPTables()
	for _, mtu := range []int{1500, 9000} {
		if c.Quick && mtu != 1500 {
			continue
		}
		fmt.Fprintf(c.Log, "tcp: MTU %d\n", mtu)
		if err := t.free(ctx, c, mtu, treatments); err != nil {
			return nil, err
		}
		if err := t.lockstep(ctx, c, mtu, treatments); err != nil {
			return nil, err
		}
	}
	return []results.Experiment{t.rate, t.perCPU, t.step, t.paired}, nil
}

// openTCX opens a data plane for TCX and returns it as a treatment; where there
// is none, one that says so.
func (b *bench) openTCX(row string, cfg xdp.Config) (wire.Treatment, error) {
	w, err := testrun.OpenTCX(cfg)
	if errors.Is(err, xdp.ErrUnsupported) {
		return wire.Missing(row, err), nil
	}
	if err != nil {
		return wire.Treatment{}, err
	}
	b.closers = append(b.closers, w.Close)
	return wire.TCX(row, w.Program), nil
}

// free measures a sender and a receiver that run as they can.
func (t *tcpTables) free(ctx context.Context, c Config, mtu int, treatments []wire.Treatment) (err error) {
	v, err := wire.Open(c.LabID, mtu)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	trials, missing, err := v.Throughput(ctx, max(3, c.Effort.Trials*2/3), 500*time.Millisecond, 1, treatments)
	if err != nil {
		return err
	}
	for i, tr := range treatments {
		rate, perCPU := make([]float64, len(trials[i])), make([]float64, len(trials[i]))
		for j, trial := range trials[i] {
			rate[j], perCPU[j] = trial.Gbits, trial.PerCPU
		}
		addQuartiles(&t.rate, tr.Name, columnTCP(mtu), rate, missing[i])
		addQuartiles(&t.perCPU, tr.Name, columnTCP(mtu), perCPU, missing[i])
	}
	return nil
}

// lockstep measures one thread that sends and receives.
func (t *tcpTables) lockstep(ctx context.Context, c Config, mtu int, treatments []wire.Treatment) error {
	const roundsPerTrial = 20
	turns, missing, err := wire.Steps(ctx, c.LabID, mtu, c.CPU, c.Effort.Trials*roundsPerTrial, treatments)
	if err != nil {
		return err
	}
	of := map[string]int{}
	for i, tr := range treatments {
		of[tr.Name] = i
	}
	for _, p := range tcpPairs {
		a, b := of[p[0]], of[p[1]]
		ratios := make([]float64, min(len(turns[a]), len(turns[b])))
		for i := range ratios {
			ratios[i] = turns[a][i] / turns[b][i]
		}
		addQuartiles(&t.paired, pairOf(p[0], p[1]), columnTCP(mtu), ratios, errors.Join(missing[a], missing[b]))
	}
	for i, tr := range treatments { // which sorts them: the pairs come first
		addQuartiles(&t.step, tr.Name, columnTCP(mtu), turns[i], missing[i])
	}
	return nil
}

// addQuartiles adds a cell of several trials, or why there are none.
func addQuartiles(t *results.Experiment, row, column string, values []float64, missing error) {
	if missing != nil || len(values) == 0 {
		t.Skip(row, column, fmt.Sprint(missing))
		return
	}
	q := testrun.Quartiles(values)
	t.Add(row, column, q[1], q[0], q[2])
}
