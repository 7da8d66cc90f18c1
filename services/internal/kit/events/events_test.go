package events_test

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	record "github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/kit/events"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// start runs a publisher until the test ends.
func start(t *testing.T, cfg *kafka.Config) *events.Publisher {
	t.Helper()
	p := events.New(cfg.Topics().Events, "test", "here", slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	client := testkit.Client(t, cfg)
	wg.Go(func() {
		if err := p.Run(ctx, client); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { stop(); wg.Wait() })
	return p
}

// reasons reads what the topic holds at this moment.
func reasons(t *testing.T, cfg *kafka.Config) []string {
	t.Helper()
	topic := cfg.Topics().Events
	client := testkit.Client(t, cfg, kgo.ConsumeTopics(topic))
	ends, err := kadm.NewClient(client).ListEndOffsets(context.Background(), topic)
	if err != nil || ends.Error() != nil {
		t.Fatal(err, ends.Error())
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	var out []string
	ctx, stop := context.WithTimeout(context.Background(), 10*time.Second)
	defer stop()
	for left > 0 && ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			e, err := record.Decode(r.Value)
			if err != nil {
				t.Error(err)
			}
			left--
			out = append(out, e.Reason)
		})
	}
	return out
}

func sent(p *events.Publisher) uint64 { n, _ := p.Counts(); return n }

func TestPublishFillsIn(t *testing.T) {
	_, cfg := testkit.Double(t)
	p := start(t, cfg)
	p.Publish(record.Record{Kind: record.KindAttach, Reason: "first\x00"})
	testkit.Eventually(t, 10*time.Second, "the event is sent", func() bool { return sent(p) == 1 })
	if got := reasons(t, cfg); len(got) != 1 || got[0] == "first\x00" {
		t.Errorf("the topic holds %q", got)
	}
}

// TestLastWords: what a service says when it stops is said.
func TestLastWords(t *testing.T) {
	_, cfg := testkit.Double(t)
	p := events.New(cfg.Topics().Events, "test", "here", slog.New(slog.DiscardHandler))
	for range 100 {
		p.Publish(record.Record{Kind: record.KindAttach, Reason: "bye"})
	}
	ctx, stop := context.WithCancel(context.Background())
	stop()
	if err := p.Run(ctx, testkit.Client(t, cfg)); err != nil {
		t.Fatal(err)
	}
	if got := reasons(t, cfg); len(got) != 100 {
		t.Errorf("the topic holds %d events", len(got))
	}
}

// TestLastWordsWithoutBroker: stopping does not wait for a broker for long.
func TestLastWordsWithoutBroker(t *testing.T) {
	cluster, cfg := testkit.Double(t)
	cluster.Close()
	p := events.New(cfg.Topics().Events, "test", "here", slog.New(slog.DiscardHandler))
	p.Publish(record.Record{Kind: record.KindAttach, Reason: "bye"})
	ctx, stop := context.WithCancel(context.Background())
	stop()
	ended := make(chan error, 1)
	client := testkit.Client(t, cfg)
	go func() { ended <- p.Run(ctx, client) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(8 * time.Second):
		t.Error("it does not stop")
	}
}

// TestTopicRecreated is the trap that a client which has produced to a topic
// fails everything once another topic has its name.
func TestTopicRecreated(t *testing.T) {
	_, cfg := testkit.Double(t)
	p := start(t, cfg)
	p.Publish(record.Record{Kind: record.KindAttach, Reason: "before"})
	testkit.Eventually(t, 10*time.Second, "the first event is sent", func() bool { return sent(p) == 1 })
	testkit.Recreate(t, cfg, cfg.Topics().Events)
	p.Publish(record.Record{Kind: record.KindAttach, Reason: "after"})
	testkit.Eventually(t, 20*time.Second, "the second event is sent", func() bool { return sent(p) == 2 })
	if got := reasons(t, cfg); !slices.Equal(got, []string{"after"}) {
		t.Errorf("the new topic holds %q", got)
	}
	if _, dropped := p.Counts(); dropped != 0 {
		t.Errorf("%d dropped", dropped)
	}
}

// TestFloodOfEventsIsDropped: bad input at any rate becomes few events.
func TestFloodOfEventsIsDropped(t *testing.T) {
	_, cfg := testkit.Double(t)
	p := events.New(cfg.Topics().Events, "test", "here", slog.New(slog.DiscardHandler))
	for range 5000 {
		p.Publish(record.Record{Kind: record.KindBadRecord, Reason: "x"})
	}
	if _, dropped := p.Counts(); dropped != 5000-1024 {
		t.Errorf("%d dropped before anything could be sent", dropped)
	}
}
