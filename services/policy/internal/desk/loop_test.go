package desk

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-net/weir/schemas"
	record "github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/replay"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// running is a desk with everything that main runs around it.
type running struct {
	*Desk
	stop func()
	mu   sync.Mutex
	told []events.Record
}

func startDesk(t *testing.T, cfg *kafka.Config, instance string) *running {
	t.Helper()
	r := &running{Desk: newDesk(t, cfg)}
	r.Instance = instance
	r.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	r.Publish = func(e events.Record) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, e)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, part := range []func(context.Context) error{
		func(ctx context.Context) error {
			return replay.New(r.Topics.Commands, r.Options, r.Log).Run(ctx, r.Desk)
		},
		r.Decide, r.Follow, r.Attacks, r.Memory,
	} {
		wg.Go(func() { _ = part(ctx) })
	}
	r.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(r.stop)
	return r
}

func (r *running) awaitReady(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, 20*time.Second, "the desk is ready", func() bool { return r.Ready() == nil })
}

// awaitReading waits until the desk, the only one, reads the rates of every
// partition and decides by them. One that is ready may not have been told yet
// where a partition ends: it begins after what was written until then.
func (r *running) awaitReading(t *testing.T, w *writer) {
	t.Helper()
	r.awaitReady(t)
	quiet := map[int32]string{}
	for i := 0; len(quiet) < schemas.DefaultPartitions; i++ {
		name := fmt.Sprintf("quiet%d/eth0", i)
		quiet[schemas.Partition([]byte(name), schemas.DefaultPartitions)] = name
	}
	testkit.Eventually(t, 20*time.Second, "the desk reads every partition", func() bool {
		before := r.stats.Rates.Load()
		for _, name := range quiet {
			w.flood(name) // of nobody
		}
		for wait := 0; wait < 100 && r.stats.Rates.Load() < before+uint64(len(quiet)); wait++ {
			time.Sleep(5 * time.Millisecond)
		}
		r.Desk.mu.Lock()
		defer r.Desk.mu.Unlock()
		return r.stats.Rates.Load() == before+uint64(len(quiet)) && !r.memory.waits(time.Now())
	})
}

// events returns those of a kind.
func (r *running) events(kind string) []events.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []events.Record
	for _, e := range r.told {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}

// log follows a topic of one partition, and counts what comes by key.
type log struct {
	mu      sync.Mutex
	records []*kgo.Record
}

func follow(t *testing.T, cfg *kafka.Config, topic string) *log {
	t.Helper()
	client := testkit.Client(t, cfg, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	l := &log{}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.records = append(l.records, r)
			})
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return l
}

// all returns what has come so far.
func (l *log) all() []*kgo.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.records[:len(l.records):len(l.records)]
}

// attacks returns the last record of each attack.
func (l *log) attacks(t *testing.T) map[string]record.Record {
	t.Helper()
	out := map[string]record.Record{}
	for _, r := range l.all() {
		if len(r.Value) == 0 {
			delete(out, string(r.Key))
			continue
		}
		a, err := record.Decode(r.Key, r.Value)
		if err != nil {
			t.Fatal(err)
		}
		out[a.Key()] = a
	}
	return out
}

// writer writes what the other services would.
type writer struct {
	t      *testing.T
	client *kgo.Client
	topics schemas.Topics
	seq    uint64
}

func newWriter(t *testing.T, cfg *kafka.Config) *writer {
	t.Helper()
	return &writer{t: t, client: testkit.Client(t, cfg), topics: cfg.Topics()}
}

func (w *writer) put(topic, schema, key string, value []byte) {
	w.t.Helper()
	if err := w.client.ProduceSync(context.Background(), kafka.Record(topic, schema, []byte(key), value)).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// flood writes the rates of an interface that sources flood with SYN.
func (w *writer) flood(name string, sources ...string) {
	w.t.Helper()
	w.put(w.topics.Rates, schemas.SchemaRates, name, w.floodOf(name, sources...))
}

// floodOf encodes such rates.
func (w *writer) floodOf(name string, sources ...string) []byte {
	w.t.Helper()
	host, ifname, err := schemas.ParseInterfaceKey(name)
	if err != nil {
		w.t.Fatal(err)
	}
	w.seq++
	now := time.Now()
	r := rates.Record{Host: host, Interface: ifname, BootID: "b", Seq: w.seq, Start: now.Add(-time.Second), End: now, Complete: true,
		Covered: 10 * time.Second, EvidencePartition: 1, EvidenceOffset: int64(w.seq)}
	for _, s := range sources {
		c := rates.Counts{Packets: 500, Bytes: 30_000}
		c.ByClass[schemas.ClassSYN] = 500
		r.Top = append(r.Top, rates.Source{Source: netip.MustParseAddr(s), PPS: 500, BPS: 240_000, PortPairs: 1, Window1s: c, Window10s: c})
		for _, sum := range []*rates.Counts{&r.Window1s, &r.Window10s} {
			sum.Packets += c.Packets
			sum.Bytes += c.Bytes
			sum.ByClass[schemas.ClassSYN] += c.Packets
		}
	}
	value, err := rates.Encode(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return value
}

// drops writes an interface's status.
func (w *writer) drops(name string, drops ...status.LeaseDrops) {
	w.t.Helper()
	host, ifname, err := schemas.ParseInterfaceKey(name)
	if err != nil {
		w.t.Fatal(err)
	}
	value, err := status.Encode(status.Record{Host: host, Interface: ifname, BootID: "b", At: time.Now(), Mode: "enforce", Filter: status.Filter{Drops: drops}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(w.topics.Status, schemas.SchemaStatus, name, value)
}

const flooder = "203.0.113.7"

func keyOf(name, source string) string { return "interface:" + name + "|" + source + "/32|policy" }

// TestFromRatesToAnAttackRecord: a flood becomes a lease, an event and a record
// of the attack, which goes on with what the probe drops.
func TestFromRatesToAnAttackRecord(t *testing.T) {
	_, cfg := testkit.Double(t)
	d, w := startDesk(t, cfg, "one"), newWriter(t, cfg)
	ordered, told := follow(t, cfg, cfg.Topics().Commands), follow(t, cfg, cfg.Topics().Attacks)
	d.awaitReady(t)
	testkit.Eventually(t, 10*time.Second, "the flood is answered", func() bool {
		w.flood("h/eth0", flooder)
		return len(ordered.all()) > 0
	})
	r := ordered.all()[0]
	c, err := commands.Decode(r.Key, r.Value)
	if err != nil || string(r.Key) != keyOf("h/eth0", flooder) || c.Action != commands.Drop || c.Evidence == nil || c.Evidence.Rule != "R1" || c.Evidence.Offset == 0 {
		t.Errorf("%s: %+v, %v", r.Key, c, err)
	}
	testkit.Eventually(t, 5*time.Second, "the decision is told of", func() bool { return len(d.events(events.KindDecision)) > 0 })
	if e := d.events(events.KindDecision); len(e) != 1 || e[0].Rule != "R1" || e[0].Key != string(r.Key) || e[0].Host != "h" || e[0].Step != events.StepIssue || e[0].Action != "drop" {
		t.Errorf("events %+v", e)
	}
	testkit.Eventually(t, 10*time.Second, "the attack is told of with what was dropped", func() bool {
		w.flood("h/eth0", flooder)
		w.drops("h/eth0", status.LeaseDrops{Key: string(r.Key), Packets: 900, Bytes: 54_000})
		for _, a := range told.attacks(t) {
			return a.Dropped == 900 && a.Rule == "R1" && a.PeakPPS == 500 && a.Mode == "enforce" && a.Leases == 1 && !a.Ended()
		}
		return false
	})
	if n := len(told.attacks(t)); n != 1 {
		t.Errorf("%d attacks", n)
	}
	if n := len(ordered.all()); n != 1 {
		t.Errorf("%d commands, want one", n)
	}
}

// TestAFailedWriteIsMadeAgain: a decision that the broker refused is none.
func TestAFailedWriteIsMadeAgain(t *testing.T) {
	c, cfg := testkit.Double(t)
	d, w := startDesk(t, cfg, "one"), newWriter(t, cfg)
	ordered, told := follow(t, cfg, cfg.Topics().Commands), follow(t, cfg, cfg.Topics().Attacks)
	d.awaitReady(t)
	var refused, refusedAttacks atomic.Int64
	refuse(c, d.Topics.Commands, 2, &refused)
	refuse(c, d.Topics.Attacks, 2, &refusedAttacks)
	testkit.Eventually(t, 20*time.Second, "the decision is made again", func() bool {
		w.flood("h/eth0", flooder)
		return len(ordered.all()) > 0
	})
	testkit.Eventually(t, 5*time.Second, "the decision is told of", func() bool { return len(d.events(events.KindDecision)) > 0 })
	if n := d.stats.Failed.Load(); n != 2 || refused.Load() != 2 {
		t.Errorf("%d writes failed, %d were refused, want 2", n, refused.Load())
	}
	if e := d.events(events.KindDecision); len(e) != 1 {
		t.Errorf("%d decisions are told of, want the one that was written", len(e))
	}
	testkit.Eventually(t, 10*time.Second, "the attack is told of in the end", func() bool { return len(told.attacks(t)) == 1 })
	if refusedAttacks.Load() != 2 {
		t.Errorf("%d records of attacks were refused, want 2", refusedAttacks.Load())
	}
}

// refuse makes the broker refuse the next n writes to a topic.
func refuse(c *kfake.Cluster, topic string, n int64, count *atomic.Int64) {
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		p, ok := req.(*kmsg.ProduceRequest)
		if !ok || count.Load() >= n {
			return nil, nil, false
		}
		resp, ok := p.ResponseKind().(*kmsg.ProduceResponse)
		if !ok {
			return nil, nil, false
		}
		for _, pt := range p.Topics {
			info := c.TopicInfo(topic)
			if pt.Topic != topic && (info == nil || pt.TopicID != info.TopicID) {
				return nil, nil, false
			}
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = pt.Topic, pt.TopicID
			for _, pp := range pt.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = pp.Partition, kerr.PolicyViolation.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		count.Add(1)
		return resp, nil, true
	})
}

// TestBadRecordsBecomeEvents, and what comes after them is read.
func TestBadRecordsBecomeEvents(t *testing.T) {
	_, cfg := testkit.Double(t)
	d, w := startDesk(t, cfg, "one"), newWriter(t, cfg)
	ordered := follow(t, cfg, cfg.Topics().Commands)
	d.awaitReady(t)
	topics := map[string]string{d.Topics.Rates: schemas.SchemaRates, d.Topics.Status: schemas.SchemaStatus, d.Topics.Attacks: schemas.SchemaAttacks,
		d.Topics.Baselines: schemas.SchemaBaselines}
	seen := map[string]bool{}
	testkit.Eventually(t, 20*time.Second, "each topic's bad record is told of", func() bool {
		for topic, schema := range topics {
			if !seen[topic] {
				w.put(topic, schema, "h/eth0", []byte("nonsense \x1b[31m"))
			}
		}
		for _, e := range d.events(events.KindBadRecord) {
			seen[e.Topic] = true
			if e.Severity != events.Warning || !strings.Contains(e.Reason, "cannot be read") || e.Key != "h/eth0" {
				t.Errorf("event %+v", e)
			}
		}
		return len(seen) == len(topics)
	})
	w.put(d.Topics.Commands, schemas.SchemaCommands, "nonsense", []byte("nonsense"))
	w.put(d.Topics.Rates, schemas.SchemaRates, "h/eth0", nil)
	testkit.Eventually(t, 10*time.Second, "the flood is answered all the same", func() bool {
		w.flood("h/eth0", flooder)
		for _, r := range ordered.all() {
			if string(r.Key) == keyOf("h/eth0", flooder) {
				return true
			}
		}
		return false
	})
}

// TestARebalanceNeitherDoublesNorDropsADecision: instances come and go while
// every interface is flooded by more and more sources.
func TestARebalanceNeitherDoublesNorDropsADecision(t *testing.T) {
	_, cfg := testkit.Double(t)
	w := newWriter(t, cfg)
	ordered, told := follow(t, cfg, cfg.Topics().Commands), follow(t, cfg, cfg.Topics().Attacks)
	const interfaces = 24
	phase, want := 0, map[string]bool{}
	// rush floods every interface from one more source, until all are answered.
	rush := func(what string) {
		phase++
		var sources []string
		for p := range phase {
			sources = append(sources, fmt.Sprintf("203.0.113.%d", p+1))
		}
		for i := range interfaces {
			want[keyOf(fmt.Sprintf("h%d/eth0", i), sources[phase-1])] = true
		}
		testkit.Eventually(t, 40*time.Second, what, func() bool {
			for i := range interfaces {
				w.flood(fmt.Sprintf("h%d/eth0", i), sources...)
			}
			got := map[string]bool{}
			for _, r := range ordered.all() {
				got[string(r.Key)] = true
			}
			return len(got) >= len(want)
		})
	}
	a := startDesk(t, cfg, "a")
	a.awaitReady(t)
	rush("the only instance answers for all interfaces")
	b := startDesk(t, cfg, "b")
	rush("all are answered while another joins")
	b.awaitReady(t)
	testkit.Eventually(t, 20*time.Second, "they share the partitions", func() bool {
		return share(a.Desk)+share(b.Desk) == schemas.DefaultPartitions && share(b.Desk) > 0 && share(a.Desk) > 0
	})
	rush("all are answered by two")
	a.stop()
	rush("all are answered when one is gone")

	issued := map[string]int{}
	for _, r := range ordered.all() {
		issued[string(r.Key)]++
	}
	for key, n := range issued {
		if n != 1 || !want[key] {
			t.Errorf("%s: written %d times, wanted: %v", key, n, want[key])
		}
	}
	testkit.Eventually(t, 10*time.Second, "there is one attack per interface, with every lease", func() bool {
		perInterface := map[string]int{}
		leases := 0
		for _, x := range told.attacks(t) {
			perInterface[x.Host]++
			leases += x.Leases
			if perInterface[x.Host] > 1 {
				return false
			}
		}
		return len(perInterface) == interfaces && leases == len(want)
	})
}

// share is how many partitions an instance has.
func share(d *Desk) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.mine)
}

// TestARestartGoesOnWithItsAttacks: the same record, and no packet counted twice.
func TestARestartGoesOnWithItsAttacks(t *testing.T) {
	_, cfg := testkit.Double(t)
	w := newWriter(t, cfg)
	told := follow(t, cfg, cfg.Topics().Attacks)
	key := keyOf("h/eth0", flooder)
	// reaches waits until the only attack has had that many packets dropped.
	reaches := func(what string, packets uint64) {
		testkit.Eventually(t, 20*time.Second, what, func() bool {
			w.flood("h/eth0", flooder)
			w.drops("h/eth0", status.LeaseDrops{Key: key, Packets: packets})
			all := told.attacks(t)
			if len(all) > 1 {
				t.Fatalf("%d attacks: %+v", len(all), all)
			}
			for _, a := range all {
				if a.Dropped > packets {
					t.Fatalf("%d packets are told of, %d were dropped", a.Dropped, packets)
				}
				return a.Dropped == packets && a.Leases == 1
			}
			return false
		})
	}
	first := startDesk(t, cfg, "one")
	reaches("the attack is told of", 900)
	first.stop()
	startDesk(t, cfg, "one")
	reaches("another life goes on with it", 1000)
}

// TestABrokerThatHangs: the desk waits for an answer for a few seconds, holds
// nothing up for longer, and makes the decision again.
func TestABrokerThatHangs(t *testing.T) {
	c, cfg := testkit.Double(t)
	d, w := startDesk(t, cfg, "one"), newWriter(t, cfg)
	ordered := follow(t, cfg, cfg.Topics().Commands)
	d.awaitReading(t, w)
	thaw := make(chan struct{})
	var hung atomic.Int64
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		p, ok := req.(*kmsg.ProduceRequest)
		if !ok || hung.Load() > 0 {
			return nil, nil, false
		}
		for _, pt := range p.Topics {
			info := c.TopicInfo(d.Topics.Commands)
			if pt.Topic == d.Topics.Commands || info != nil && pt.TopicID == info.TopicID {
				hung.Add(1)
				c.SleepControl(func() { <-thaw })
			}
		}
		return nil, nil, false
	})
	w.flood("h/eth0", flooder)
	testkit.Eventually(t, 10*time.Second, "the desk gives up", func() bool { return d.stats.Failed.Load() > 0 })
	if hung.Load() != 1 || len(ordered.all()) != 0 {
		t.Fatalf("%d writes hang, %d were made", hung.Load(), len(ordered.all()))
	}
	close(thaw)
	testkit.Eventually(t, 30*time.Second, "the decision is made again", func() bool {
		w.flood("h/eth0", flooder)
		return len(ordered.all()) > 0
	})
	for _, r := range ordered.all() {
		if string(r.Key) != keyOf("h/eth0", flooder) {
			t.Errorf("ordered %s", r.Key)
		}
	}
}
