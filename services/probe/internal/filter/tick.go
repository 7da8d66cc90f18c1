package filter

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/probe/internal/guard"
)

// Host is what the filter asks of the machine it runs on.
type Host interface {
	Facts() guard.Facts
	BrokersReachable() bool
}

// tickInterval is how long after a lease lapses the next one takes its place.
const tickInterval = 250 * time.Millisecond

// Watch does what time and the host demand, until ctx ends: lapsed leases give
// way to the next, leases are judged again when the host changes, and the
// dead-man watches the brokers.
func (f *Filter) Watch(ctx context.Context, host Host) error {
	for n := 0; ; n++ {
		if n%4 == 0 {
			f.SetFacts(host.Facts())
		}
		f.expire()
		f.deadMan(host.BrokersReachable())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tickInterval):
		}
	}
}

// Reinstall writes the whole set anew: the interfaces have changed. A replay that
// is about to end does so first.
func (f *Filter) Reinstall() {
	f.installs.Lock()
	defer f.installs.Unlock()
	if f.caughtUp.Load() {
		f.installAll()
	}
}

func (f *Filter) expire() {
	for f.expireSome() { // a million may end in one second
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now, modes := f.Now(), len(f.live.modes)
	for key, l := range f.live.modes {
		if !l.Live(now) {
			delete(f.live.modes, key)
		}
	}
	if len(f.live.modes) != modes && f.next == nil {
		f.applyModes(nil)
	}
	if f.installs.TryLock() { // who installs all goes by places, which change here
		f.live.shrink()
		f.installs.Unlock()
	}
}

// expireSome takes out a portion of what has lapsed, and reports whether there
// may be more.
func (f *Filter) expireSome() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	touched := f.live.lapsed(nil, f.Now().UnixNano(), blockSize)
	if f.next == nil { // else the data plane holds what was there before the replay
		f.report(f.install(touched))
	}
	return len(touched) == blockSize
}

// SetFacts judges the whole set again if the host has changed.
func (f *Filter) SetFacts(facts guard.Facts) {
	f.mu.Lock()
	if f.facts.Equal(&facts) {
		f.mu.Unlock()
		return
	}
	f.facts = facts // what comes from now on is judged by it
	f.report(f.dp.SetExempt(facts.Prefixes()))
	sets := []*set{f.live, f.next}
	f.mu.Unlock()
	for _, s := range sets {
		if s == nil {
			continue
		}
		f.report(f.inPortions(s, func(h *held) bool {
			c := h.command()
			err := facts.Judge(&c)
			if h.deadMan || h.suspended == (err != nil) {
				return false
			}
			s.suspend(h, err != nil)
			f.announce(s, h, err)
			return true
		}))
	}
}

// announce says that a lease was suspended, or is in force again if why is nil.
func (f *Filter) announce(s *set, h *held, why error) {
	e := events.Record{Kind: events.KindResumed, Severity: events.Info, Topic: f.Topic, Offset: h.offset, Key: s.key(h),
		Reason: "lease in force again"}
	if why != nil {
		e.Kind, e.Severity, e.Reason = events.KindSuspended, events.Warning, "lease suspended: "+why.Error()
	}
	f.Publish(e)
}

// deadMan suspends, when the brokers fall silent, the leases that were applied
// shortly before and may be the cause.
func (f *Filter) deadMan(reachable bool) {
	if reachable {
		f.sawLoss = false
		return
	}
	if f.sawLoss || f.DeadMan <= 0 || !f.caughtUp.Load() {
		return
	}
	f.sawLoss = true
	f.mu.Lock()
	now, live := f.Now().Sub(f.began), f.live
	f.mu.Unlock()
	f.report(f.inPortions(live, func(h *held) bool {
		if h.suspended || now-h.appliedAt > f.DeadMan {
			return false
		}
		if c := h.command(); !f.facts.CouldCut(&c) {
			return false
		}
		live.suspend(h, true)
		h.deadMan = true
		f.announce(live, h, fmt.Errorf("dead-man: the brokers were lost %v after it was applied", (now-h.appliedAt).Round(time.Second)))
		return true
	}))
}
