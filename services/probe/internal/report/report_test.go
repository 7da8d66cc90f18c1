package report

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// probe is a reporter at work.
type probe struct {
	*Reporter
	told   atomic.Int64
	cancel context.CancelFunc
	ended  sync.WaitGroup
}

func start(t *testing.T, cfg *kafka.Config, boot, former string) *probe {
	t.Helper()
	opts, err := cfg.Options("test")
	if err != nil {
		t.Fatal(err)
	}
	p := &probe{}
	p.Reporter = New(Options{
		Client: testkit.Client(t, cfg), Kafka: opts, Topic: cfg.Topics().Status, Host: "edge", BootID: boot, Former: former,
		Records: func() []status.Record { return []status.Record{{Interface: "eth0", Mode: "observe"}} },
		Changed: make(chan struct{}), Log: slog.New(slog.DiscardHandler),
		Publish: func(e events.Record) {
			if e.Kind == events.KindDuplicateName {
				p.told.Add(1)
			}
		},
	})
	ctx, stop := context.WithCancel(context.Background())
	p.cancel = stop
	p.ended.Go(func() { _ = p.Watch(ctx) })
	p.ended.Go(func() { _ = p.Run(ctx) })
	t.Cleanup(p.stop)
	return p
}

// stop ends it in good order.
func (p *probe) stop() {
	p.cancel()
	p.ended.Wait()
}

func (p *probe) publishes() bool { return p.MayPublish() }

// last returns the boot id and the last word of each probe on the topic.
func last(t *testing.T, cfg *kafka.Config) map[string]status.Record {
	t.Helper()
	topic := cfg.Topics().Status
	client := testkit.Client(t, cfg, kgo.ConsumeTopics(topic))
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	out := map[string]status.Record{}
	for next := int64(0); next < end.Offset; {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
		for _, k := range fetches.Records() {
			next = k.Offset + 1
			s, err := status.Decode(k.Value)
			if err != nil {
				t.Fatal(err)
			}
			out[s.BootID] = s
		}
	}
	return out
}

func TestOneOfTwoPublishes(t *testing.T) {
	_, cfg := testkit.Double(t)
	first := start(t, cfg, "a", "")
	testkit.Eventually(t, 10*time.Second, "the first publishes", first.publishes)
	second := start(t, cfg, "b", "")
	testkit.Eventually(t, 10*time.Second, "the second tells of the first", func() bool { return second.told.Load() == 1 })
	if second.MayPublish() || !first.MayPublish() || first.told.Load() != 0 {
		t.Errorf("first publishes: %v, second: %v", first.MayPublish(), second.MayPublish())
	}
	if err := first.Ready(); err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := second.Ready(); err == nil || !strings.Contains(err.Error(), "another probe (boot a) is live as edge") {
		t.Errorf("the second: %v", err)
	}
	second.stop()
	first.stop()
	words := last(t, cfg)
	if _, wrote := words["b"]; wrote || !words["a"].Stopped {
		t.Errorf("the topic has %+v", words)
	}
}

// TestKilled: the next life takes the name at once, and says that the former
// one is over.
func TestKilled(t *testing.T) {
	_, cfg := testkit.Double(t)
	write(t, cfg, "a")
	heir := start(t, cfg, "a2", "a")
	testkit.Eventually(t, 10*time.Second, "the heir publishes", heir.publishes)
	if words := last(t, cfg); !words["a"].Stopped || words["a2"].BootID == "" || heir.told.Load() != 0 {
		t.Errorf("the topic has %+v, %d events", words, heir.told.Load())
	}
}

// write is the last word of a probe that was killed.
func write(t *testing.T, cfg *kafka.Config, boot string) {
	t.Helper()
	s := status.Record{Host: "edge", Interface: "eth0", BootID: boot, At: time.Now(), Mode: "observe"}
	value, err := status.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	r := kafka.Record(cfg.Topics().Status, schemas.SchemaStatus, []byte(s.Key()), value)
	if err := testkit.Client(t, cfg).ProduceSync(context.Background(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// TestWrongClock: a probe whose clock is ahead finds nothing written lately. It
// learns by its own record, and then looks again.
func TestWrongClock(t *testing.T) {
	r := New(Options{BootID: "a", Host: "edge"})
	sent := time.Now().Add(-10 * time.Millisecond)
	err := r.compareClocks(sent, sent.Add(-time.Minute))
	if !errors.Is(err, errClock) || r.Skew() < 59*time.Second {
		t.Errorf("%v, skew %v", err, r.Skew())
	}
	if err := r.compareClocks(sent, sent.Add(-time.Minute)); err != nil {
		t.Errorf("the same again: %v", err)
	}
	if err := r.compareClocks(sent.Add(-time.Hour), sent); err != nil || r.Skew() < 59*time.Second {
		t.Errorf("a record that waited for an hour: %v, skew %v", err, r.Skew())
	}
}

// TestReadyWaits: after a reboot it is said what the probe waits for.
func TestReadyWaits(t *testing.T) {
	_, cfg := testkit.Double(t)
	write(t, cfg, "a")
	p := start(t, cfg, "a2", "")
	testkit.Eventually(t, 10*time.Second, "it says what it waits for", func() bool {
		err := p.Ready()
		return err != nil && strings.Contains(err.Error(), "edge was live as boot a,")
	})
	if p.MayPublish() || p.told.Load() != 0 {
		t.Errorf("it publishes: %v, events: %d", p.MayPublish(), p.told.Load())
	}
}

func TestStatusTopicRecreated(t *testing.T) {
	_, cfg := testkit.Double(t)
	p := start(t, cfg, "a", "")
	testkit.Eventually(t, 10*time.Second, "it publishes", p.publishes)
	testkit.Recreate(t, cfg, cfg.Topics().Status)
	testkit.Eventually(t, 30*time.Second, "it publishes to the new topic", func() bool { return last(t, cfg)["a"].BootID == "a" })
	testkit.Eventually(t, 10*time.Second, "and holds its name there", p.publishes)
}

// TestNoStatusTopic: counts do not wait for a topic that nobody has made.
func TestNoStatusTopic(t *testing.T) {
	_, cfg := testkit.Double(t)
	if _, err := kadm.NewClient(testkit.Client(t, cfg)).DeleteTopic(context.Background(), cfg.Topics().Status); err != nil {
		t.Fatal(err)
	}
	p := start(t, cfg, "a", "")
	testkit.Eventually(t, 10*time.Second, "counts flow", p.publishes)
}

// TestRest gives a record that is cheap its pace, one that is dear a rest, and one
// that had to wait no more of it than the usual interval.
func TestRest(t *testing.T) {
	for took, want := range map[time.Duration]time.Duration{
		time.Millisecond: minInterval, 100 * time.Millisecond: 400 * time.Millisecond, time.Minute: interval,
	} {
		if got := rest(took); got != want {
			t.Errorf("after %v it rests %v, want %v", took, got, want)
		}
	}
}
