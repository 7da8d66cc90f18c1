package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/baselines"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

func everything(string) bool { return true }

// handOver carries what one engine remembers to another, as the topic does: in
// records, of which each has a place in the contract.
func handOver(t *testing.T, from, to *Engine, at time.Time) {
	t.Helper()
	all := from.Remember(everything, time.Second, at)
	if len(all) == 0 {
		t.Fatal("nothing is remembered")
	}
	for _, r := range all {
		key, value, err := baselines.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		read, err := baselines.Decode(key, value)
		if err != nil {
			t.Fatal(err)
		}
		to.Recall(&read, at)
	}
}

// TestAnotherEngineGoesOn: what the first has learned in quiet times votes in the
// second, whether it has heard of the interface already or not.
func TestAnotherEngineGoesOn(t *testing.T) {
	busy, usual := flood(400, 80), flood(400, 80)
	usual.Victims = nil
	first := newEngine(t)
	at := quietly(first, now, 11*time.Minute, usual)
	busy.End = at
	for name, prepare := range map[string]func(*Engine){
		"at its start": func(*Engine) {},
		"when it has heard of the interface": func(e *Engine) {
			quietly(e, at.Add(-3*time.Second), 3*time.Second, usual)
		},
	} {
		second := newEngine(t)
		prepare(second)
		if d := newEngine(t).Rates(busy, at); len(d) != 1 {
			t.Fatalf("without a memory: %s", brief(d))
		}
		handOver(t, first, second, at)
		a, b := first.watch("h", "eth0", at), second.watch("h", "eth0", at)
		for c := range a.usual.classes {
			if x, y := a.usual.classes[c], b.usual.classes[c]; x.seen != y.seen || x.total != y.total || x.ewma != y.ewma {
				t.Errorf("%s: class %d: %+v, want %+v", name, c, y, x)
			}
		}
		if d := second.Rates(busy, at); len(d) != 0 {
			t.Errorf("%s: %s", name, brief(d))
		}
		a.rememberedAt = time.Time{}
	}
}

// TestRegularsAreRecalled for an hour and no longer.
func TestRegularsAreRecalled(t *testing.T) {
	first := newEngine(t)
	usual := record(crowdOf(100, packets{tcp: 20})...)
	at := quietly(first, now, 5*time.Minute, usual)
	records := first.Remember(everything, time.Second, at)
	for later, want := range map[time.Duration]bool{time.Minute: true, 40 * time.Minute: true, 61 * time.Minute: false} {
		second := newEngine(t)
		second.Recall(&records[0], at.Add(later))
		w := second.watch("h", "eth0", at.Add(later))
		if got := w.regulars.has(usual.Top[7].Source) && w.regulars.talked(usual.Top[7].Source); got != want {
			t.Errorf("after %v a regular is known: %v, want %v", later, got, want)
		}
		if w.regulars.has(source("203.0.113.9", packets{}, packets{}, 1).Source) {
			t.Errorf("after %v a stranger is known", later)
		}
	}
}

// TestMemoryIsNoOlderThanWhatIsKnown: an engine's own records come back to it,
// and another's may be the younger ones.
func TestMemoryIsNoOlderThanWhatIsKnown(t *testing.T) {
	e := newEngine(t)
	usual := flood(400, 80)
	usual.Victims = nil
	at := quietly(e, now, 3*time.Minute, usual)
	old := e.Remember(everything, time.Second, at)
	at = quietly(e, at, 3*time.Minute, usual)
	before := e.watched[interfaceName{"h", "eth0"}].usual
	e.Recall(&old[0], at)
	if after := e.watched[interfaceName{"h", "eth0"}].usual; after != before {
		t.Errorf("the record of three minutes ago took the place of six minutes: %v of %v", after.quiet, before.quiet)
	}
	e.Recall(&baselines.Record{Host: "h", Interface: "eth0", UpdatedAt: at.Add(-25 * time.Hour), Quiet: 1 << 30}, at)
	if after := e.watched[interfaceName{"h", "eth0"}].usual; after != before {
		t.Error("a record of yesterday was taken")
	}
}

// TestRememberWhatIsNew: of each interface at most once in a while, never of one
// that somebody else decides for, and not again if nothing was learned.
func TestRememberWhatIsNew(t *testing.T) {
	e := newEngine(t)
	r := flood(10, 80)
	at := quietly(e, now, 30*time.Second, r)
	if got := e.Remember(everything, time.Minute, at); len(got) != 0 {
		t.Errorf("after half of the time: %d", len(got))
	}
	at = quietly(e, at, 31*time.Second, r)
	if got := e.Remember(func(string) bool { return false }, time.Minute, at); len(got) != 0 {
		t.Errorf("of an interface of somebody else: %d", len(got))
	}
	got := e.Remember(func(name string) bool { return name == "h/eth0" }, time.Minute, at)
	if len(got) != 1 || got[0].Key() != "h/eth0" || got[0].Quiet != 61 || !got[0].UpdatedAt.Equal(at) {
		t.Errorf("remembered %+v", got)
	}
	if got := e.Remember(everything, time.Minute, at.Add(2*time.Minute)); len(got) != 0 {
		t.Errorf("again, though nothing was learned since: %d", len(got))
	}
}

// TestMemoryIsBounded: many interfaces come one after the other, and those that
// are gone are forgotten in the end.
func TestMemoryIsBounded(t *testing.T) {
	e := newEngine(t)
	const n = 3 * atOnce
	at := now
	for range 2 {
		at = at.Add(time.Second)
		for i := range n {
			r := flood(10, 80)
			r.Interface, r.End = fmt.Sprintf("eth%d", i), at
			e.Rates(r, at)
		}
	}
	sizes := []int{}
	for range 4 {
		sizes = append(sizes, len(e.Remember(everything, time.Second, at)))
	}
	if fmt.Sprint(sizes) != fmt.Sprint([]int{atOnce, atOnce, atOnce, 0}) {
		t.Errorf("remembered %v of %d", sizes, n)
	}
	e.sweep(at.Add(goneAfter + time.Minute))
	if len(e.watched) != 0 || len(e.recalled) != n {
		t.Errorf("of %d interfaces that are gone %d are watched and %d recalled", n, len(e.watched), len(e.recalled))
	}
	e.sweep(at.Add(goneAfter + time.Minute + forgottenAfter))
	if len(e.recalled) != 0 {
		t.Errorf("%d are recalled after a day", len(e.recalled))
	}
}

// TestUnusualNeedsAMemory: a rule that asks for the unusual is silent until it
// knows what is usual, and with a memory it knows at once.
func TestUnusualNeedsAMemory(t *testing.T) {
	first := withRules(t, "")
	at := quietly(first, now, 11*time.Minute, flood(10, 80))
	stranger := record(source("203.0.113.9", packets{syn: 80, tcp: 700}, packets{syn: 800, tcp: 7000}, 64))
	stranger.End = at
	if d := withRules(t, "").Rates(stranger, at); strings.Contains(brief(d), "R7") {
		t.Fatalf("without a memory: %s", brief(d))
	}
	second := New(Options{Rules: mustRules(t)})
	handOver(t, first, second, at)
	if d := second.Rates(stranger, at); !strings.HasPrefix(brief(d), "R7 ") {
		t.Errorf("with a memory: %q", brief(d))
	}
}

func mustRules(t *testing.T) *rules.Rules {
	t.Helper()
	r, err := rules.Load("")
	if err != nil {
		t.Fatal(err)
	}
	return r
}
