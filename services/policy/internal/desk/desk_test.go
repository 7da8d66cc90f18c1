package desk

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/detect/engine"
	"github.com/weir-net/weir/services/internal/detect/rules"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// newDesk returns a desk with the embedded rules, on the given brokers.
func newDesk(t *testing.T, cfg *kafka.Config) *Desk {
	t.Helper()
	r, err := rules.Load("")
	if err != nil {
		t.Fatal(err)
	}
	opts, err := cfg.Options("test")
	if err != nil {
		t.Fatal(err)
	}
	d := New(engine.New(engine.Options{Rules: r}))
	d.Topics, d.Options, d.Client, d.Group, d.Instance = cfg.Topics(), opts, testkit.Client(t, cfg), "policy", "one"
	d.Publish, d.Log, d.RememberEvery = func(events.Record) {}, slog.New(slog.DiscardHandler), time.Second
	return d
}

// TestPartitionsAreAsked: whoever made the topic with another number of
// partitions than the contract's still has their leases renewed.
func TestPartitionsAreAsked(t *testing.T) {
	_, cfg := testkit.Double(t)
	admin := kadm.NewClient(testkit.Client(t, cfg))
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	defer stop()
	cfg.TopicPrefix = "other."
	if _, err := admin.CreateTopic(ctx, 3, 1, nil, cfg.Topics().Rates); err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, cfg)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { _ = d.Decide(ctx) })

	testkit.Eventually(t, 10*time.Second, "the only instance decides for every interface", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		for i := range 50 {
			if !d.decidesFor(fmt.Sprintf("host%d/eth0", i)) {
				return false
			}
		}
		return true
	})
}

// TestCommandsRecreated: the desk finds the topic of its decisions again.
func TestCommandsRecreated(t *testing.T) {
	_, cfg := testkit.Double(t)
	d := newDesk(t, cfg)
	release := []engine.Decision{{Step: engine.Release, Key: "*|198.51.100.7/32|policy"}}
	written := func() bool {
		before := d.stats.Released.Load()
		d.write(context.Background(), release, nil)
		return d.stats.Released.Load() > before
	}
	testkit.Eventually(t, 10*time.Second, "a decision is written", written)
	testkit.Recreate(t, cfg, cfg.Topics().Commands)
	testkit.Eventually(t, 20*time.Second, "one is written to the new topic", written)
}

// TestAttacksRecreated: what goes on is told again when its topic is another one.
func TestAttacksRecreated(t *testing.T) {
	_, cfg := testkit.Double(t)
	startDesk(t, cfg, "one")
	w, told := newWriter(t, cfg), follow(t, cfg, cfg.Topics().Attacks)
	var key string
	testkit.Eventually(t, 20*time.Second, "the attack is told of", func() bool {
		w.flood("h/eth0", flooder)
		for key = range told.attacks(t) {
			return true
		}
		return false
	})
	testkit.Recreate(t, cfg, cfg.Topics().Attacks)
	again := follow(t, cfg, cfg.Topics().Attacks)
	testkit.Eventually(t, 20*time.Second, "it is told of on the new topic", func() bool {
		w.flood("h/eth0", flooder)
		all := again.attacks(t)
		_, ok := all[key]
		return ok && len(all) == 1
	})
}
