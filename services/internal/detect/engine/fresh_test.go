package engine

import (
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/status"
)

// stream plays a flood for 20 s, each record lag old, and returns when the first
// decision came.
func stream(e *Engine, lag func(since time.Duration) time.Duration) time.Duration {
	r := record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1))
	for since := time.Duration(0); since < 20*time.Second; since += 250 * time.Millisecond {
		at := now.Add(since)
		r.End = at.Add(-lag(since))
		if len(e.Rates(r, at)) > 0 {
			return since
		}
	}
	return -1
}

func TestWrongClocksAreRecognised(t *testing.T) {
	for name, c := range map[string]struct {
		lag  func(time.Duration) time.Duration
		want time.Duration
	}{
		"right":             {func(time.Duration) time.Duration { return 300 * time.Millisecond }, 0},
		"ahead":             {func(time.Duration) time.Duration { return -time.Hour }, 0},
		"minutes behind":    {func(time.Duration) time.Duration { return 3 * time.Minute }, 5 * time.Second},
		"behind and uneven": {func(s time.Duration) time.Duration { return time.Minute + s%(700*time.Millisecond) }, 5 * time.Second},
		// Nothing of a backlog is the present until it is worked off.
		"a backlog of a minute, worked off at ten times the speed": {func(s time.Duration) time.Duration { return max(0, time.Minute-9*s) }, 6250 * time.Millisecond},
		"an aggregator that falls behind":                          {func(s time.Duration) time.Duration { return 6*time.Second + s }, -1},
	} {
		if got := stream(newEngine(t), c.lag); got != c.want {
			t.Errorf("%s: decided after %v, want %v", name, got, c.want)
		}
	}
}

// TestWrongClocksDoNotEndLeases: the status of such a host bears its time, too.
func TestWrongClocksDoNotEndLeases(t *testing.T) {
	e := newEngine(t)
	d := e.Rates(record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1)), now)
	var drops uint64
	renewed := 0
	for s := 1; s <= 100; s++ {
		at := now.Add(time.Duration(s) * time.Second)
		drops += 500
		x := &status.Record{Host: "h", Interface: "eth0", At: at.Add(-time.Minute)}
		x.Filter.Drops = []status.LeaseDrops{{Key: d[0].Key, Packets: drops}}
		renewed += steps(e.Status(x, true, at), Renew)
	}
	if renewed < 1 || e.Leases() != 1 {
		t.Errorf("%d renewals and %d leases in 100 s", renewed, e.Leases())
	}
}
