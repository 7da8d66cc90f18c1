package wire

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/peers"
	"github.com/weir-net/weir/loadtest/bench/testrun"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("a lab needs root")
		}
		t.Skip("a lab needs root")
	}
}

func openWire(t *testing.T, id string) *Wire {
	t.Helper()
	needRoot(t)
	w, err := Open(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// delivered is how many packets the victim's stack has handed to TCP or UDP.
func delivered(t *testing.T, w *Wire) uint64 {
	t.Helper()
	var text []byte
	err := w.Do(lab.Victim, func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/snmp")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if fields[0] != "Ip:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == "InDelivers" {
				n, err := strconv.ParseUint(fields[i], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatal("no InDelivers")
	return 0
}

// TestTreatmentsDropWhatTheyAreSaidTo sends frames that the stack accepts, under
// each treatment: a filter that never saw them would look fast.
func TestTreatmentsDropWhatTheyAreSaidTo(t *testing.T) {
	const sources, frames = 256, 20_000
	w := openWire(t, "twire")
	if err := w.likeNIC(); err != nil {
		t.Fatal(err)
	}
	f := testrun.SYN()
	copy(f.Bytes, lab.VictimMAC)
	s, err := w.newSender(f, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.picker.Close()
	if err := s.picker.Sources(1, sources); err != nil {
		t.Fatal(err)
	}
	set, err := peers.Load(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	dropping, err := set.Program("nothing")
	if err != nil {
		t.Fatal(err)
	}
	weir, blocked := dropAll(t, sources)
	tcx, err := testrun.OpenTCX(xdp.Config{SourceWays: 1 << 12, MaxLeases: 1 << 12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tcx.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		treatment Treatment
		passes    bool
	}{
		{Nothing("no program"), true},
		{XDP("XDP_DROP", dropping, false), false},
		{XDP("native", weir.Program, false), false},
		{XDP("generic", weir.Program, true), false},
		{NFT("nftables", blocked), false},
		{IPSet("ipset", blocked), false},
		{TCX("TCX, no lease", tcx.Program), true},
	} {
		t.Run(c.treatment.Name, func(t *testing.T) {
			for tool, name := range map[string]string{"nft": "nftables", "ipset": "ipset"} {
				if _, err := exec.LookPath(tool); err == nil || c.treatment.Name != name {
					continue
				}
				if os.Getenv("CI") == "true" {
					t.Fatalf("%s is not installed", tool)
				}
				t.Skipf("%s is not installed: the table says so too", tool)
			}
			undo, err := c.treatment.apply(w)
			if err != nil {
				t.Fatal(err)
			}
			before := delivered(t, w)
			used, arrived, err := s.send(frames)
			if err != nil {
				t.Fatal(err)
			}
			passed := delivered(t, w) - before
			if err := undo(); err != nil {
				t.Error(err)
			}
			if arrived < frames*9/10 || used <= 0 {
				t.Fatalf("%d of %d frames arrived, in %v", arrived, frames, used)
			}
			if want := arrived * 9 / 10; c.passes && passed < want {
				t.Errorf("%d of %d frames came through, want nearly all", passed, arrived)
			}
			if !c.passes && passed > frames/100 {
				t.Errorf("%d of %d frames came through, want none", passed, arrived)
			}
		})
	}
	if w.likeNIC() != nil {
		t.Error("the wire is no longer in order")
	}
}

// dropAll is a data plane with a lease on each of the first n sources.
func dropAll(t *testing.T, n uint32) (*testrun.Weir, []netip.Addr) {
	t.Helper()
	weir, err := testrun.OpenWeir(xdp.Config{SourceWays: 1 << 12, MaxLeases: 1 << 12})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := weir.Close(); err != nil {
			t.Error(err)
		}
	})
	var all []netip.Addr
	var leases []xdp.Entry
	for i := range n {
		a := peers.Address(1 + i)
		all = append(all, a)
		leases = append(leases, xdp.Entry{Match: xdp.Match{Source: netip.PrefixFrom(a, 32)}, Action: xdp.ActionDrop, Interfaces: ^uint64(0)})
	}
	if err := weir.Put(leases); err != nil {
		t.Fatal(err)
	}
	return weir, all
}

func TestThroughput(t *testing.T) {
	w := openWire(t, "ttcp")
	rates, missing, err := w.Throughput(t.Context(), 2, 50*time.Millisecond, 2, []Treatment{
		Nothing("none"), Missing("never there", errors.New("no such thing")),
	})
	if err != nil {
		t.Fatal(err)
	}
	if missing[0] != nil || len(rates[0]) != 2 {
		t.Fatalf("no program: %v, %v", rates[0], missing[0])
	}
	for _, trial := range rates[0] {
		if trial.Gbits <= 0 || trial.PerCPU <= 0 {
			t.Errorf("no program: %+v", trial)
		}
	}
	if !Unavailable(missing[1]) || len(rates[1]) != 0 {
		t.Errorf("what is not there: %v, %v", rates[1], missing[1])
	}
}

// TestHostUnderFlood needs the programs, which make test builds.
func TestHostUnderFlood(t *testing.T) {
	bin := os.Getenv("WEIR_BIN")
	if bin == "" {
		bin = filepath.Join("..", "..", "..", "bin")
	}
	if _, err := os.Stat(filepath.Join(bin, "loadtest")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("the programs are not built:", err)
	}
	w := openWire(t, "thost")
	x, err := w.NewExperiment(bin, 0)
	if err != nil {
		t.Fatal(err)
	}
	const pps = 5000
	measure := func(flood Flooding) Host {
		t.Helper()
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		h, err := x.Measure(ctx, Nothing("not filtered"), flood, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	idle, flooded := measure(nil), measure(SYNFlood(50, pps))
	if idle.PPS > 100 || idle.Receiving > flooded.Receiving/2 {
		t.Errorf("idle: %+v, flooded: %+v", idle, flooded)
	}
	if flooded.PPS < pps/2 || flooded.Receiving <= 0 || flooded.Machine <= 0 {
		t.Errorf("flooded: %+v, want about %d packets per second and more", flooded, pps)
	}
	if h := measure(HTTPFlood(50, 200)); h.Serving <= 0 || h.PPS < 200 {
		t.Errorf("HTTP: %+v, want the server at work", h)
	}
}

func TestSteps(t *testing.T) {
	needRoot(t)
	set, err := peers.Load(1 << 12)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	next, err := set.Program("next")
	if err != nil {
		t.Fatal(err)
	}
	applied := map[string]int{}
	watched := Treatment{"TCX", func(w *Wire) (func() error, error) {
		applied[w.ID()]++
		return TCX("TCX", next).apply(w)
	}}
	never := Missing("never there", errors.New("no such thing"))
	turns, missing, err := Steps(t.Context(), "tst", 1500, 0, 3, []Treatment{Nothing("none"), watched, never})
	if err != nil {
		t.Fatal(err)
	}
	if missing[0] != nil || missing[1] != nil || !Unavailable(missing[2]) {
		t.Errorf("missing: %v", missing)
	}
	if want := map[string]int{"tst0": 1, "tst1": 1, "tst2": 1}; !maps.Equal(applied, want) {
		t.Errorf("the program was on %v, want each wire once", applied)
	}
	const laps, rounds = 3, 3
	if len(turns[0]) != laps*rounds || len(turns[1]) != laps*rounds || len(turns[2]) != 0 {
		t.Errorf("turns: %v", turns)
	}
	for _, rate := range append(turns[0], turns[1]...) {
		if rate <= 0 {
			t.Errorf("turns: %v", turns)
		}
	}
}

func TestSoftirqCost(t *testing.T) {
	w := openWire(t, "tpaced")
	weir, _ := dropAll(t, 1)
	p := Paced{Sources: traffic.SourcesOf(lab.HTTPAttackers, 10), PPS: 2000, Length: 50 * time.Millisecond, Trials: 2, CPU: 0}
	samples, missing, err := w.SoftirqCost(t.Context(), p, []Treatment{
		Nothing("none"), XDP("native", weir.Program, false), Missing("never there", errors.New("no such thing")),
	})
	if err != nil {
		t.Fatal(err)
	}
	if missing[0] != nil || missing[1] != nil || missing[2] != nil || !Unavailable(missing[3]) {
		t.Errorf("missing: %v", missing)
	}
	if len(samples) != 4 || len(samples[0]) != 2 || len(samples[3]) != 0 {
		t.Fatalf("samples: %v", samples)
	}
	for _, both := range samples[:3] {
		if both[0] <= 0 || both[1] <= 0 {
			t.Errorf("samples: %v", samples)
		}
	}
	if samples[1][0] <= samples[0][0] {
		t.Errorf("a host that answers costs %v per packet, a sender alone %v", samples[1][0], samples[0][0])
	}
}
