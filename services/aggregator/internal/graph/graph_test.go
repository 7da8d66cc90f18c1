package graph

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/gokakit"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// running is an aggregator in the test's process, with everything but main.
type running struct {
	*gokakit.Supervisor
	stream *Stream
	stop   func()
	mu     sync.Mutex
	events []events.Record
}

func start(t *testing.T, cfg *kafka.Config, instance string) *running {
	t.Helper()
	gokakit.TableIsGroup()
	r := &running{}
	topics := cfg.Topics()
	r.stream = New(topics, func(e events.Record) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.events = append(r.events, e)
	}, slog.New(slog.DiscardHandler))
	r.Supervisor = gokakit.NewSupervisor(gokakit.Options{
		Kafka: cfg, Client: testkit.Client(t, cfg), ClientID: "test", Instance: instance,
		Graph: r.stream.Graph(), Table: topics.Rates, Schema: schemas.SchemaRates, Assigned: r.stream.Keep, Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(r.stop)
	return r
}

func (r *running) awaitReady(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	testkit.Eventually(t, 20*time.Second, "the table is recovered", func() bool { return r.Ready() == nil })
	return time.Since(begin)
}

func chunk(key string, boot string, seq uint64) *counts.Record {
	host, ifname, _ := schemas.ParseInterfaceKey(key)
	now := time.Now()
	r := &counts.Record{Host: host, Interface: ifname, BootID: boot, Seq: seq, Chunks: 1, Duration: 250 * time.Millisecond,
		WindowStart: now.Add(-250 * time.Millisecond), WindowEnd: now, Totals: &counts.Totals{Counters: counts.Counters{Packets: 5, Bytes: 300}}}
	r.Totals.ByClass[schemas.ClassUDP] = 5
	r.Totals.UDPBytes = 300
	return r
}

func produce(t *testing.T, client *kgo.Client, topic string, records ...*counts.Record) {
	t.Helper()
	var out []*kgo.Record
	for _, r := range records {
		v, err := counts.Encode(*r)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, kafka.Record(topic, schemas.SchemaCounts, []byte(r.Key()), v))
	}
	if err := client.ProduceSync(context.Background(), out...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// table follows the rates topic and keeps the newest record of each key.
func table(t *testing.T, cfg *kafka.Config) func(key string) (rates.Record, bool) {
	t.Helper()
	client := testkit.Client(t, cfg, kgo.ConsumeTopics(cfg.Topics().Rates), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	var mu sync.Mutex
	all := map[string]rates.Record{}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				mu.Lock()
				defer mu.Unlock()
				if len(r.Value) == 0 {
					delete(all, string(r.Key))
					return
				}
				v, err := rates.Decode(r.Value)
				if err != nil {
					t.Errorf("the table has a bad record: %v", err)
				}
				if want := schemas.Partition(r.Key, schemas.DefaultPartitions); r.Partition != want {
					t.Errorf("%s is in partition %d of the table, want %d", r.Key, r.Partition, want)
				}
				all[string(r.Key)] = v
			})
		}
	}()
	return func(key string) (rates.Record, bool) {
		mu.Lock()
		defer mu.Unlock()
		r, ok := all[key]
		return r, ok
	}
}

func bothBrokers(t *testing.T, f func(t *testing.T, cfg *kafka.Config)) {
	t.Run("double", func(t *testing.T) { _, cfg := testkit.Double(t); f(t, cfg) })
	t.Run("kafka", func(t *testing.T) { f(t, testkit.Kafka(t)) })
}

// TestRestartRecoversEveryKey is the partitioner trap: with another hash than
// the producer's, a restart finds half the state and says nothing.
func TestRestartRecoversEveryKey(t *testing.T) {
	bothBrokers(t, func(t *testing.T, cfg *kafka.Config) {
		client, get := testkit.Client(t, cfg), table(t, cfg)
		const n = 1000
		key := func(i int) string { return fmt.Sprintf("host-%d/eth%d", i, i%4) }
		send := func(seq uint64) {
			var all []*counts.Record
			for i := range n {
				all = append(all, chunk(key(i), "boot", seq))
			}
			produce(t, client, cfg.Topics().Counts, all...)
			for i := range n {
				testkit.Eventually(t, 20*time.Second, fmt.Sprintf("%s has window %d", key(i), seq), func() bool { r, _ := get(key(i)); return r.Seq == seq })
			}
		}
		a := start(t, cfg, "one")
		a.awaitReady(t)
		send(1)
		send(2)
		a.stop()
		b := start(t, cfg, "one")
		took := b.awaitReady(t)
		send(4) // 3 is missing: only who remembers 2 can tell
		for i := range n {
			if r, _ := get(key(i)); r.LostWindows != 1 {
				t.Fatalf("%s: %d lost windows after the restart, want 1: its state was not recovered", key(i), r.LostWindows)
			}
		}
		if took > 4*time.Second {
			t.Errorf("a restart took %v: goka sleeps 5 s after a rebalance", took)
		}
	})
}

// TestBadRecordsDoNotStopTheStream: a codec's error would end goka for ever.
func TestBadRecordsDoNotStopTheStream(t *testing.T) {
	bothBrokers(t, func(t *testing.T, cfg *kafka.Config) {
		client, get := testkit.Client(t, cfg), table(t, cfg)
		a := start(t, cfg, "one")
		a.awaitReady(t)
		restarts := a.Restarts() // a topic that was just made may not be usable at once
		topic := cfg.Topics().Counts
		good, err := counts.Encode(*chunk("h/e0", "boot", 1))
		if err != nil {
			t.Fatal(err)
		}
		bad := []*kgo.Record{
			{Topic: topic, Key: []byte("h/e0"), Value: []byte("garbage")},
			{Topic: topic, Key: []byte("h/e0"), Value: nil},
			{Topic: topic, Key: []byte("h/e1"), Value: good}, // says h/e0 inside
			{Topic: topic, Key: nil, Value: good},
			{Topic: topic, Key: []byte("h/e0"), Value: make([]byte, 900_000)},
		}
		if err := client.ProduceSync(context.Background(), bad...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		produce(t, client, topic, chunk("h/e0", "boot", 1), chunk("h/e1", "boot", 1))
		for _, key := range []string{"h/e0", "h/e1"} {
			testkit.Eventually(t, 10*time.Second, key+" is in the table", func() bool { r, _ := get(key); return r.Seq == 1 })
		}
		testkit.Eventually(t, 10*time.Second, "an event for each bad record", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.events) == len(bad)
		})
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, e := range a.events {
			if e.Kind != events.KindBadRecord || e.Topic != topic || e.Reason == "" {
				t.Errorf("event %+v", e)
			}
		}
		if n := a.Restarts() - restarts; n != 0 {
			t.Errorf("the processor had to be built anew %d times", n)
		}
	})
}

// TestTwoInstancesShare: an instance joins, and leaves again, while windows
// arrive. Each window is in the table once, and each instance remembers only
// the interfaces that it works on.
func TestTwoInstancesShare(t *testing.T) {
	const interfaces, rounds = 24, 90
	_, cfg := testkit.Double(t)
	client, get, seen := testkit.Client(t, cfg), table(t, cfg), updates(t, cfg)
	key := func(i int) string { return fmt.Sprintf("h%d/e", i) }
	one := start(t, cfg, "one")
	one.awaitReady(t)
	var two *running
	for seq := uint64(1); seq <= rounds; seq++ {
		for i := range interfaces {
			produce(t, client, cfg.Topics().Counts, chunk(key(i), "boot", seq))
		}
		switch seq {
		case rounds / 3:
			two = start(t, cfg, "two")
			if took := two.awaitReady(t); took > 4*time.Second {
				t.Errorf("joining took %v: goka sleeps 5 s when a rebalance ends its session", took)
			}
		case 2 * rounds / 3:
			testkit.Eventually(t, 20*time.Second, "both work, each on its own interfaces", func() bool {
				a, b := one.stream.Interfaces(), two.stream.Interfaces()
				return a > 0 && b > 0 && a+b == interfaces
			})
			two.stop()
		}
	}
	for i := range interfaces {
		testkit.Eventually(t, 30*time.Second, key(i)+" has all windows", func() bool { r, _ := get(key(i)); return r.Seq == rounds })
		if r, _ := get(key(i)); r.LostWindows != 0 {
			t.Errorf("%s lost %d windows in a rebalance", key(i), r.LostWindows)
		}
		for seq := uint64(1); seq <= rounds; seq++ {
			testkit.Eventually(t, 10*time.Second, fmt.Sprintf("%s has window %d", key(i), seq), func() bool { return seen(key(i), seq) > 0 })
			if n := seen(key(i), seq); n != 1 {
				t.Errorf("window %d of %s is in the table %d times", seq, key(i), n)
			}
		}
	}
	if n := one.stream.Interfaces(); n != interfaces {
		t.Errorf("the one that is left works on %d interfaces, want all %d", n, interfaces)
	}
}

// updates counts how often each window was written to the table.
func updates(t *testing.T, cfg *kafka.Config) func(key string, seq uint64) int {
	t.Helper()
	client := testkit.Client(t, cfg, kgo.ConsumeTopics(cfg.Topics().Rates), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	type windowOf struct {
		key string
		seq uint64
	}
	var mu sync.Mutex
	counted := map[windowOf]int{}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
				if v, err := rates.Decode(r.Value); err == nil && !v.Stale {
					mu.Lock()
					counted[windowOf{string(r.Key), v.Seq}]++
					mu.Unlock()
				}
			})
		}
	}()
	return func(key string, seq uint64) int {
		mu.Lock()
		defer mu.Unlock()
		return counted[windowOf{key, seq}]
	}
}

func TestSilentInterfaceTurnsStaleAndIsDeleted(t *testing.T) {
	_, cfg := testkit.Double(t)
	client, get := testkit.Client(t, cfg), table(t, cfg)
	a := start(t, cfg, "one")
	var mu sync.Mutex
	var ahead time.Duration
	a.stream.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return time.Now().Add(ahead) }
	a.awaitReady(t)
	produce(t, client, cfg.Topics().Counts, chunk("h/e", "boot", 1))
	testkit.Eventually(t, 10*time.Second, "the interface is in the table", func() bool { _, ok := get("h/e"); return ok })
	look := func(later time.Duration) {
		mu.Lock()
		ahead = later
		mu.Unlock()
		if err := a.Visit(context.Background(), visitor, nil); err != nil {
			t.Fatal(err)
		}
	}
	look(schemas.StaleAfter - time.Second)
	if r, _ := get("h/e"); r.Stale {
		t.Error("stale too early")
	}
	look(schemas.StaleAfter + time.Second)
	testkit.Eventually(t, 10*time.Second, "stale", func() bool { r, _ := get("h/e"); return r.Stale })
	look(schemas.DeleteAfter + time.Second)
	testkit.Eventually(t, 10*time.Second, "deleted", func() bool { _, ok := get("h/e"); return !ok })
}
