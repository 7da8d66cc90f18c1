package desk

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/baselines"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// memories returns the last record of each interface, and how many there are.
func (l *log) memories(t *testing.T) (map[string]baselines.Record, int) {
	t.Helper()
	out := map[string]baselines.Record{}
	all := l.all()
	for _, r := range all {
		b, err := baselines.Decode(r.Key, r.Value)
		if err != nil {
			t.Fatal(err)
		}
		out[b.Key()] = b
	}
	return out, len(all)
}

// learn writes quiet rates of interfaces until each is remembered with at least
// so many quiet seconds, in records after the first so many.
func learn(t *testing.T, w *writer, l *log, what string, names []string, quiet uint64, after int) map[string]baselines.Record {
	t.Helper()
	var got map[string]baselines.Record
	testkit.Eventually(t, 60*time.Second, what, func() bool {
		for _, name := range names {
			w.flood(name) // of nobody
		}
		known, n := l.memories(t)
		if got = known; n <= after {
			return false
		}
		for _, name := range names {
			if known[name].Quiet < quiet {
				return false
			}
		}
		return true
	})
	return got
}

// TestARestartRemembers: the next life goes on where the memory ends, not at
// nothing.
func TestARestartRemembers(t *testing.T) {
	_, cfg := testkit.Double(t)
	w, kept := newWriter(t, cfg), follow(t, cfg, cfg.Topics().Baselines)
	name := []string{"h/eth0"}
	first := startDesk(t, cfg, "one")
	before := learn(t, w, kept, "the first life remembers", name, 4, 0)["h/eth0"]
	first.stop()
	_, n := kept.memories(t)
	started := time.Now()
	startDesk(t, cfg, "one")
	after := learn(t, w, kept, "the second life remembers", name, 1, n)["h/eth0"]
	if alone := uint64(time.Since(started)/time.Second) + 1; after.Quiet <= before.Quiet || after.Quiet > before.Quiet+alone+1 {
		t.Errorf("%d quiet seconds were known, then %d after at most %d more", before.Quiet, after.Quiet, alone)
	}
	if got, want := len(after.Classes), schemas.NumClasses; got != want {
		t.Errorf("%d classes, want %d", got, want)
	}
}

// TestWhoTakesOverRemembers: an instance that joins goes on from what the other
// one has learned, and each writes of its own interfaces only.
func TestWhoTakesOverRemembers(t *testing.T) {
	_, cfg := testkit.Double(t)
	w, kept := newWriter(t, cfg), follow(t, cfg, cfg.Topics().Baselines)
	var names []string
	for i := range 24 {
		names = append(names, fmt.Sprintf("h%d/eth0", i))
	}
	a := startDesk(t, cfg, "a")
	before := learn(t, w, kept, "the first remembers", names, 4, 0)
	b := startDesk(t, cfg, "b")
	testkit.Eventually(t, 20*time.Second, "they share the partitions", func() bool {
		return share(a.Desk)+share(b.Desk) == schemas.DefaultPartitions && share(b.Desk) > 0
	})
	_, n := kept.memories(t)
	testkit.Eventually(t, 30*time.Second, "the second goes on with what it took over", func() bool {
		for _, name := range names {
			w.flood(name)
		}
		now, count := kept.memories(t)
		if count <= n+len(names) {
			return false
		}
		for _, name := range names {
			if now[name].Quiet <= before[name].Quiet {
				return false
			}
		}
		return true
	})
	if b.stats.MemoryWritten.Load() == 0 {
		t.Error("the second wrote nothing: this shows nothing")
	}
	seen := map[string]uint64{}
	for _, r := range kept.all() {
		x, err := baselines.Decode(r.Key, r.Value)
		if err != nil {
			t.Fatal(err)
		}
		if x.Quiet < seen[x.Key()] {
			t.Errorf("%s: %d quiet seconds were known, and then %d", x.Key(), seen[x.Key()], x.Quiet)
		}
		seen[x.Key()] = x.Quiet
	}
}

// TestNoMemoryIsNoReasonToWait: without the topic decisions are made after a few
// seconds.
func TestNoMemoryIsNoReasonToWait(t *testing.T) {
	_, cfg := testkit.Double(t)
	if _, err := kadm.NewClient(testkit.Client(t, cfg)).DeleteTopic(context.Background(), cfg.Topics().Baselines); err != nil {
		t.Fatal(err)
	}
	d, w := startDesk(t, cfg, "one"), newWriter(t, cfg)
	ordered := follow(t, cfg, cfg.Topics().Commands)
	testkit.Eventually(t, 20*time.Second, "the flood is answered", func() bool {
		w.flood("h/eth0", flooder)
		return len(ordered.all()) > 0
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.memory.recalled {
		t.Error("a topic that is not there has been read: this shows nothing")
	}
}
