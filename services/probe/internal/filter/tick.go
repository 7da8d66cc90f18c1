package filter

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/status"
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

// Reinstall writes the whole set anew: the interfaces have changed.
func (f *Filter) Reinstall() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.caughtUp.Load() {
		f.installAll()
	}
}

func (f *Filter) expire() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Now()
	touched := map[commands.Match]bool{}
	for _, h := range f.live.lapsed(now) {
		touched[h.Match] = true
	}
	modes := len(f.live.modes)
	for key, l := range f.live.modes {
		if !l.Live(now) {
			delete(f.live.modes, key)
		}
	}
	if !f.caughtUp.Load() {
		return // the data plane holds what an earlier process put there
	}
	if len(touched) > 0 {
		f.install(touched)
	}
	if len(f.live.modes) != modes {
		f.applyModes(nil)
	}
}

// SetFacts judges the whole set again if the host has changed.
func (f *Filter) SetFacts(facts guard.Facts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.facts.Equal(&facts) {
		return
	}
	f.facts = facts
	if err := f.dp.SetExempt(facts.Prefixes()); err != nil {
		f.alarm(err)
	}
	touched := map[commands.Match]bool{}
	for _, s := range []*set{f.live, f.next} {
		if s == nil {
			continue
		}
		for _, h := range s.byKey {
			if h.deadMan {
				continue
			}
			was, why := h.suspended, ""
			if err := facts.Judge(&h.Command); err != nil {
				why = err.Error()
			}
			s.suspend(h, why)
			if (was == "") != (why == "") {
				touched[h.Match] = true
				f.announce(h)
			}
		}
	}
	if len(touched) > 0 && f.caughtUp.Load() {
		f.install(touched)
	}
}

func (f *Filter) announce(h *held) {
	e := events.Record{Kind: events.KindSuspended, Severity: events.Warning, Topic: f.Topic, Offset: h.Offset, Key: h.Key,
		Reason: "lease suspended: " + h.suspended}
	if h.suspended == "" {
		e.Kind, e.Severity, e.Reason = events.KindResumed, events.Info, "lease in force again"
	}
	f.Publish(e)
}

// deadMan suspends, when the brokers fall silent, the leases that were applied
// shortly before and may be the cause.
func (f *Filter) deadMan(reachable bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if reachable {
		f.sawLoss = false
		return
	}
	if f.sawLoss || f.DeadMan <= 0 || !f.caughtUp.Load() {
		return
	}
	f.sawLoss = true
	now := f.Now()
	touched := map[commands.Match]bool{}
	for _, h := range f.live.byKey {
		if h.suspended != "" || now.Sub(h.appliedAt) > f.DeadMan || !f.facts.CouldCut(&h.Command) {
			continue
		}
		f.live.suspend(h, fmt.Sprintf("dead-man: the brokers were lost %v after it was applied", now.Sub(h.appliedAt).Round(time.Second)))
		h.deadMan = true
		touched[h.Match] = true
		f.announce(h)
	}
	if len(touched) > 0 {
		f.install(touched)
	}
}

// maxDrops bounds the leases listed in one status record.
const maxDrops = 1000

// Status describes the filter of one interface.
func (f *Filter) Status(i Interface) status.Filter {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.Now()
	out := status.Filter{Rejected: f.rejected.Load()}
	for target, n := range f.live.counts {
		if target.Matches(f.Host, i.Name) {
			out.Leases += n.applied
			out.Suspended += n.suspended
		}
	}
	_, out.Capacity = f.dp.Len()
	boot := xdp.BootTime()
	f.dp.Entries(func(e xdp.Entry, d xdp.Drops) bool {
		if e.Interfaces&(1<<i.Slot) == 0 || d.Last == 0 {
			return true
		}
		if h := f.live.of(e); h != nil && h.suspended == "" && h.Target.Matches(f.Host, i.Name) {
			out.Drops = append(out.Drops, status.LeaseDrops{Key: h.Key, Offset: e.Offset, Packets: d.Packets, Bytes: d.Bytes,
				Would: d.Would, LastAt: now.Add(d.Last - boot)})
		}
		return true
	})
	trim(&out)
	return out
}
