package cli

import (
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/detect/engine"
	"github.com/weir-net/weir/services/internal/detect/rules"
	"github.com/weir-net/weir/services/internal/detect/window"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// chain is the way of packets through the real stages, on the lab's topics:
// counts are encoded and written, added up, judged, and the decisions written.
type chain struct {
	lab       *lab
	partition int32
	state     window.State
	engine    *engine.Engine
	seq       uint64
	end       time.Time
	made      []engine.Decision
}

func (l *lab) newChain() *chain {
	l.t.Helper()
	r, err := rules.Load("")
	if err != nil {
		l.t.Fatal(err)
	}
	return &chain{lab: l, partition: schemas.Partition([]byte("edge-1/eth0"), schemas.DefaultPartitions),
		engine: engine.New(engine.Options{Rules: r}), end: time.Now().Add(-4 * time.Second)}
}

// syn is a source that sends n packets that open connections.
func syn(address string, n uint64) counts.Source {
	s := counts.Source{Address: netip.MustParseAddr(address), PortPairs: 1}
	s.Packets, s.Bytes = n, 60*n
	s.ByClass[schemas.ClassSYN] = n
	return s
}

// tick passes one window of 250 ms on and returns what was decided.
func (c *chain) tick(sources ...counts.Source) []engine.Decision {
	c.lab.t.Helper()
	c.seq++
	start := c.end
	c.end = start.Add(250 * time.Millisecond)
	r := counts.Record{Host: "edge-1", Interface: "eth0", BootID: "b7c1f0", Seq: c.seq, Chunks: 1, Duration: 250 * time.Millisecond,
		WindowStart: start, WindowEnd: c.end, Totals: &counts.Totals{}, Sources: sources}
	for _, s := range sources {
		r.Totals.Add(s.Counters)
	}
	value, err := counts.Encode(r)
	if err != nil {
		c.lab.t.Fatal(err)
	}
	written := c.lab.putTo(c.lab.topics.Counts, c.partition, r.Key(), value)
	read, err := counts.Decode(written.Value)
	if err != nil {
		c.lab.t.Fatal(err)
	}
	if got := c.state.Apply(&read); got != window.Updated {
		c.lab.t.Fatalf("window %d: %v", c.seq, got)
	}
	table := *c.state.Record()
	table.EvidencePartition, table.EvidenceOffset = written.Partition, written.Offset
	encoded, err := rates.Encode(table)
	if err != nil {
		c.lab.t.Fatal(err)
	}
	c.lab.putTo(c.lab.topics.Rates, c.partition, table.Key(), encoded)
	if table, err = rates.Decode(encoded); err != nil {
		c.lab.t.Fatal(err)
	}
	decisions := c.engine.Rates(&table, c.end)
	for i := range decisions {
		c.lab.write(&decisions[i])
	}
	c.made = append(c.made, decisions...)
	return decisions
}

// write puts a decision on the commands topic and tells of it, as the policy
// does.
func (l *lab) write(d *engine.Decision) {
	l.t.Helper()
	key, value, err := commands.Encode(d.Command)
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(l.topics.Commands, string(key), value)
	e := events.Record{At: time.Now(), Service: "policy", Host: "edge-1", Interface: "eth0", Kind: events.KindDecision, Severity: events.Info,
		Reason: d.Reason, Topic: l.topics.Commands, Key: d.Key, Rule: d.Rule, Measured: d.Measured, Threshold: d.Threshold}
	told, err := events.Encode(e)
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(l.topics.Events, e.RecordKey(), told)
}

// putTo writes one record to a partition and returns it with its offset.
func (l *lab) putTo(topic string, partition int32, key string, value []byte) *kgo.Record {
	l.t.Helper()
	r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: value}
	if err := l.producer.ProduceSync(l.t.Context(), r).FirstErr(); err != nil {
		l.t.Fatal(err)
	}
	return r
}

// TestWhyTracesADecisionToItsCounts: from the answer to the counts record that
// caused the decision, over topics alone.
func TestWhyTracesADecisionToItsCounts(t *testing.T) {
	l := newLab(t)
	c := l.newChain()
	noise := syn("198.51.100.9", 2)
	for range 6 {
		c.tick(noise)
	}
	// Other interfaces share the partition.
	l.putTo(l.topics.Counts, c.partition, "edge-2/eth9", []byte("not even a record"))
	var decisions []engine.Decision
	for _, n := range []uint64{10, 20, 29, 60} {
		decisions = append(decisions, c.tick(noise, syn("203.0.113.7", n))...)
	}
	if len(decisions) != 1 {
		t.Fatalf("decisions %+v, want one", decisions)
	}
	for range 3 {
		c.tick(noise, syn("203.0.113.7", 40)) // the flood goes on after the decision
	}
	ev := decisions[0].Command.Evidence
	against := flood("edge-1", "R1", c.end)
	against.Leases = 3
	l.putAttack(against)
	l.putAttack(flood("edge-2", "R1", c.end))
	l.putAttack(flood("edge-1", "R2", c.end))
	l.putAttack(flood("edge-1", "R1", c.end.Add(time.Hour)))
	p := l.startProbe("edge-1")
	testkit.Eventually(t, 5*time.Second, "the probe applies the lease", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.leases) == 1
	})
	p.set(func(r *status.Record) {
		r.Filter.Drops = []status.LeaseDrops{{Key: decisions[0].Key, Packets: 900, Bytes: 54_000, LastAt: time.Now()}}
	})

	var out answer
	r := l.run("why", "203.0.113.7", "-o", "json")
	r.into(t, &out)
	if r.code != ExitOK || !out.Known || len(out.Leases) != 1 {
		t.Fatalf("got %+v", r)
	}
	x := out.Leases[0]
	if x.Key != decisions[0].Key || x.Issuer != "policy" || x.State != "in force" || x.Role != "source" || x.Evidence.Rule != "R1" ||
		x.Evidence.Measured != ev.Measured || x.DroppedPackets != 900 || *x.RemainingSeconds > 60 || *x.RemainingSeconds < 30 {
		t.Errorf("lease %+v", x.listed)
	}
	tr := x.Trace
	if tr == nil || !tr.Retained || tr.Problem != "" || tr.Seq != ev.Seq || tr.Offset != ev.Offset || tr.Partition != c.partition || tr.Topic != l.topics.Counts {
		t.Fatalf("trace %+v", tr)
	}
	// What the decision says it measured is what the counts hold.
	if got := float64(tr.Sum.Classes["syn"]); got != x.Evidence.Measured || got < x.Evidence.Threshold || tr.Record.Seq != ev.Seq {
		t.Errorf("the windows %+v hold %v syn, the decision measured %v", tr.Windows, got, x.Evidence.Measured)
	}
	if len(tr.Windows) != 4 || tr.Windows[0].Seq != ev.Seq-3 {
		t.Errorf("%d windows for one second: %+v", len(tr.Windows), tr.Windows)
	}
	if len(x.Probes) != 1 || x.Probes[0].Effect != "dropping" || x.Probes[0].Packets != 900 {
		t.Errorf("probes %+v", x.Probes)
	}
	if len(out.Events) != 1 || out.Events[0].Rule != "R1" {
		t.Errorf("events %+v", out.Events)
	}
	if len(out.Attacks) != 1 || out.Attacks[0].Rule != "R1" || out.Attacks[0].Leases != 3 {
		t.Errorf("attacks %+v", out.Attacks)
	}

	r = l.run("why", "203.0.113.7")
	for _, want := range []string{"203.0.113.7/32 drop at interface:edge-1/eth0: in force, dropping on 1", "R1: measured ", "lapses in ", "policy, offset 0",
		"edge-1/eth0 dropping (mode enforce)", "attacks\n  ", "R1 SYN flood, victim -", "900 packets, 54000 bytes dropped", "in all     900 packets dropped", "window " + strconv.FormatUint(ev.Seq, 10) + " of edge-1/eth0, boot b7c1f0", " syn)"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	for _, other := range []string{"203.0.113.0/24", decisions[0].Key} {
		var same answer
		l.run("why", other, "-o", "json").into(t, &same)
		if len(same.Leases) != 1 || same.Leases[0].Key != x.Key || !same.Known {
			t.Errorf("%s: %+v", other, same)
		}
	}
	for _, other := range []string{"198.51.100.9", "2001:db8::1", "*|203.0.113.7/32|policy"} {
		if r := l.run("why", other); r.code != ExitNothing || !strings.Contains(r.out, "nothing is known of "+other) {
			t.Errorf("%s: %+v", other, r)
		}
	}
	if r := l.run("why", "nonsense"); r.code != ExitUsage {
		t.Errorf("nonsense: %+v", r)
	}
}

// TestWhyTellsWhatBecameOfALease: a person's lease, renewed, in a mode that only
// counts, beaten by an allow, released.
func TestWhyTellsWhatBecameOfALease(t *testing.T) {
	l := newLab(t)
	p := l.startProbe("a", func(p *probe) { p.record.Mode = "observe" })
	ask := func(what string) answer {
		t.Helper()
		var out answer
		l.run("why", what, "-o", "json").into(t, &out)
		return out
	}
	l.run("block", "203.0.113.7", "--reason", "scan \x1b[31m")
	l.run("block", "203.0.113.7", "--reason", "scan \x1b[31m")
	p.set(func(r *status.Record) {
		r.Filter.Drops = []status.LeaseDrops{{Key: "*|203.0.113.7/32|alice", Would: 7}}
	})
	x := ask("203.0.113.7").Leases[0]
	if x.Renewals != 1 || x.Probes[0].Effect != "would-drop" || x.WouldDrop != 7 || x.DroppedPackets != 0 || x.Trace != nil {
		t.Errorf("observing: %+v", x)
	}
	if r := l.run("why", "203.0.113.7"); strings.Contains(r.out, "\x1b") || !strings.Contains(r.out, "7 would have been") || !strings.Contains(r.out, "renewed 1 times") {
		t.Errorf("text:\n%s", r.out)
	}

	l.run("allow", "203.0.113.0/24", "--issuer", "bob")
	out := ask("203.0.113.7")
	if len(out.Leases) != 2 {
		t.Fatalf("with the allow: %+v", out.Leases)
	}
	for _, x := range out.Leases {
		if x.Action == commands.Drop && (len(x.Beaten) != 1 || !x.Beaten[0].Whole || x.Beaten[0].Issuer != "bob") {
			t.Errorf("beaten by %+v", x.Beaten)
		}
	}
	if r := l.run("why", "203.0.113.7"); !strings.Contains(r.out, "an allow beats it") {
		t.Errorf("text:\n%s", r.out)
	}
	l.run("unblock", "203.0.113.0/24", "--issuer", "bob")
	l.run("unblock", "203.0.113.7")
	out = ask("203.0.113.7")
	states := map[commands.Action]string{}
	for _, x := range out.Leases {
		states[x.Action] = x.State
	}
	if !out.Known || states[commands.Drop] != "released" || states[commands.Allow] != "released" {
		t.Errorf("after the end: %v", states)
	}
}

// TestWhyOfAVictim: a signature is told to whoever asks about its victim, and in
// short to whoever asks about a source.
func TestWhyOfAVictim(t *testing.T) {
	l := newLab(t)
	l.run("block", "--destination", "192.0.2.1", "--protocol", "udp", "--source-port", "53", "--no-wait")
	var out answer
	l.run("why", "192.0.2.1", "-o", "json").into(t, &out)
	if !out.Known || len(out.Leases) != 1 || out.Leases[0].Role != "victim" {
		t.Errorf("victim: %+v", out)
	}
	r := l.run("why", "203.0.113.7")
	if r.code != ExitNothing || !strings.Contains(r.out, "signatures in force, which any source may meet") || !strings.Contains(r.out, "destination=192.0.2.1/32") {
		t.Errorf("source: %+v", r)
	}
}

// TestWhyWithoutItsCounts: evidence that is gone, or another record now, is said
// to be.
func TestWhyWithoutItsCounts(t *testing.T) {
	l := newLab(t)
	c := l.newChain()
	c.tick(syn("203.0.113.7", 1))
	for _, x := range []struct {
		name, want string
		ev         commands.Evidence
	}{
		{"beyond what is retained", "no longer retained", commands.Evidence{Rule: "R1", Window: "1s", Interface: "edge-1/eth0", BootID: "b7c1f0", Seq: 9, Partition: c.partition, Offset: 99}},
		{"another topic of that name", "made anew", commands.Evidence{Rule: "R1", Window: "1s", Interface: "edge-1/eth0", BootID: "older", Seq: 1, Partition: c.partition}},
		{"no such partition", "no partition 99", commands.Evidence{Rule: "R1", Window: "1s", Interface: "edge-1/eth0", BootID: "b7c1f0", Seq: 1, Partition: 99}},
		{"somebody else's idea", "names no counts record", commands.Evidence{Rule: "mine"}},
	} {
		key, value, err := commands.Encode(commands.Command{Match: commands.Match{Source: mustPrefix(t, "203.0.113.7")}, Action: commands.Drop, TTL: time.Minute, Issuer: "bot", Evidence: &x.ev})
		if err != nil {
			t.Fatal(err)
		}
		l.put(l.topics.Commands, string(key), value)
		var out answer
		r := l.run("why", "203.0.113.7", "-o", "json")
		r.into(t, &out)
		if r.code != ExitOK || len(out.Leases) != 1 || out.Leases[0].Trace == nil || !strings.Contains(out.Leases[0].Trace.Problem, x.want) || out.Leases[0].Trace.Retained {
			t.Errorf("%s: %+v", x.name, r)
		}
	}
}

// TestWhyOfWhatTheCommandsTopicHasForgotten: a released lease leaves the compacted
// topic; events and attacks still tell.
func TestWhyOfWhatTheCommandsTopicHasForgotten(t *testing.T) {
	l := newLab(t)
	key := "interface:edge-1/eth0|203.0.113.7/32|policy"
	for _, e := range []events.Record{
		{Key: key, Step: events.StepIssue, Action: "drop", Rule: "R1", Reason: "R1 SYN flood from one source: 120 syn in 1s"},
		{Key: key, Step: events.StepRelease, Rule: "R1", Reason: "released: it was offered at most 50 packets/s for 30s"},
		{Key: "interface:edge-1/eth0|203.0.113.9/32|policy", Step: events.StepIssue, Rule: "R1", Reason: "another source"},
		{Key: "no lease's key", Reason: "something else"},
	} {
		e.At, e.Service, e.Host, e.Interface, e.Kind, e.Severity = time.Now(), "policy", "edge-1", "eth0", events.KindDecision, events.Info
		value, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		l.put(l.topics.Events, e.RecordKey(), value)
	}
	x := flood("edge-1", "R3", time.Now().Add(-48*time.Hour))
	x.End, x.Top = x.Start.Add(time.Minute), []attacks.Lease{{Key: key, Packets: 5}}
	l.putAttack(x)
	for _, question := range []string{"203.0.113.7", key} {
		var out answer
		r := l.run("why", question, "-o", "json")
		r.into(t, &out)
		if r.code != ExitOK || !out.Known || len(out.Leases) != 0 || len(out.Events) != 2 || len(out.Attacks) != 1 {
			t.Errorf("%s: %+v", question, r)
		}
	}
	if r := l.run("why", "203.0.113.8"); r.code != ExitNothing {
		t.Errorf("a neighbour: %+v", r)
	}
}
