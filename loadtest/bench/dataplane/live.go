package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/peers"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
	"github.com/weir-net/weir/loadtest/bench/wire"
	"github.com/weir-net/weir/loadtest/lab"
)

// blockedSources are those that every filter of the wire drops.
const blockedSources = 100_000

// Rows that goals and plots speak of.
const (
	rowXDPDrop = "XDP_DROP alone"
	rowXDPPass = "XDP_PASS alone"
	rowNative  = "Weir, native"
	rowGeneric = "Weir, generic"
	rowTCX     = "Weir, TCX"
	rowTCXNext = "TCX_NEXT alone"
	rowNone    = "no program"
	rowNFT     = "nftables, netdev ingress set"
	rowIPSet   = "iptables raw, ipset hash:ip"
)

// toVictim returns the SYN as the victim takes it for its own.
func toVictim() testrun.Frame {
	f := testrun.SYN()
	copy(f.Bytes, lab.VictimMAC)
	return f
}

// live measures frames that go through a driver: all dropped, and all passed.
func live(ctx context.Context, c Config) (tables []results.Experiment, err error) {
	method := "Live frames over veth, sender and receiver on one CPU, both counted."
	drops := results.Experiment{
		ID: "live-drop", Title: "Dropping live frames, every source blocked", Unit: "CPU ns per frame", Versus: rowXDPDrop,
		Method: method + fmt.Sprintf(" Every filter holds %d blocked sources, and Weir and K-ONE count besides.", blockedSources),
	}
	passes := results.Experiment{
		ID: "live-pass", Title: "Passing live frames on to the stack, nothing blocked", Unit: "CPU ns per frame", Versus: rowXDPPass,
		Method: method + " The frames are for another host: the stack drops them as soon as it can.",
	}
	var b bench
	defer func() { err = errors.Join(err, b.close()) }()
	set, err := peers.Load(blockedSources)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() error { set.Close(); return nil })
	w, err := b.addWeir(rowNative, xdp.Config{SourceWays: c.records(), MaxLeases: 2 * blockedSources}, testrun.SYN())
	if err != nil {
		return nil, err
	}
	tcx, err := b.openTCX(rowTCX, xdp.Config{SourceWays: c.records()})
	if err != nil {
		return nil, err
	}
	v, err := wire.Open(c.LabID, 0)
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, v.Close)

	of := map[string]*ebpf.Program{}
	for _, name := range []string{"nothing", "pass", "next", "flat_batch", "lru_percpu", "kone"} {
		if of[name], err = set.Program(name); err != nil {
			return nil, err
		}
	}
	passing := []wire.Treatment{
		wire.Nothing(rowNone), wire.XDP(rowXDPPass, of["pass"], false), wire.XDP("floor, counting", of["flat_batch"], false),
		wire.XDP(rowStock+", counting", of["lru_percpu"], false), wire.XDP(rowKOne, of["kone"], false),
		wire.XDP(rowNative, w.Program, false), wire.XDP(rowGeneric, w.Program, true),
		wire.TCX(rowTCXNext, of["next"]), tcx,
	}
	if err := liveColumns(ctx, c, v, testrun.SYN(), passing, &passes); err != nil {
		return nil, err
	}
	if _, err := load(w, exactLeases(1, blockedSources)); err != nil {
		return nil, err
	}
	if err := set.Block(blockedSources); err != nil {
		return nil, err
	}
	blocked := make([]netip.Addr, blockedSources)
	for i := range blocked {
		blocked[i] = peers.Address(1 + uint32(i))
	}
	dropping := []wire.Treatment{
		wire.XDP(rowXDPDrop, of["nothing"], false), wire.XDP(rowKOne, of["kone"], false), wire.XDP(rowNative, w.Program, false), wire.XDP(rowGeneric, w.Program, true),
		wire.NFT(rowNFT, blocked), wire.IPSet(rowIPSet, blocked),
	}
	if err := liveColumns(ctx, c, v, toVictim(), dropping, &drops); err != nil {
		return nil, err
	}
	return []results.Experiment{drops, rateOf(&drops), passes}, nil
}

// rateOf turns the cost of dropping into what one CPU drops.
func rateOf(drops *results.Experiment) results.Experiment {
	t := results.Experiment{
		ID: "live-rate", Title: "Live frames that one CPU makes and drops", Unit: "million packets per second", Versus: drops.Versus,
		Method: "The same numbers, the other way round.",
	}
	for _, p := range drops.Points {
		if p.Note != "" {
			t.Skip(p.Row, p.Column, p.Note)
			continue
		}
		const perMicrosecond = 1000
		t.Add(p.Row, p.Column, perMicrosecond/p.Value, perMicrosecond/p.High, perMicrosecond/p.Low)
	}
	return t
}

func liveColumns(ctx context.Context, c Config, v *wire.Wire, f testrun.Frame, treatments []wire.Treatment, t *results.Experiment) error {
	e := c.Effort
	e.Trials = max(3, e.Trials/3) // each takes several times its length
	for _, n := range []uint32{1000, blockedSources} {
		fmt.Fprintf(c.Log, "%s: %s sources\n", t.ID, count(n))
		costs, missing, err := v.LiveCost(ctx, c.CPU, e, n, f, treatments)
		if err != nil {
			return err
		}
		for i, tr := range treatments {
			if missing[i] != nil {
				t.Skip(tr.Name, count(n), missing[i].Error())
				continue
			}
			t.Add(tr.Name, count(n), costs[i][1], costs[i][0], costs[i][2])
		}
	}
	return nil
}
