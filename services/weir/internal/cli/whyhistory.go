package cli

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/weir/internal/broker"
	"github.com/weir-net/weir/services/weir/internal/why"
)

// maxEvents bounds the events that are shown, the latest ones.
const maxEvents = 50

// eventsOf returns the latest events about leases that concern the question:
// decisions, refusals, suspensions. The commands topic forgets what was released;
// events do not.
func (a *app) eventsOf(ctx context.Context, c *broker.Client, q why.Question, back time.Duration) ([]events.Record, error) {
	out := []events.Record{}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	err := c.Follow(ctx, c.Topics.Events, broker.Since(time.Now().Add(-back)), func(r *kgo.Record) bool {
		if e, err := events.Decode(r.Value); err == nil && concerns(q, e.Key) {
			out = append(out, e)
			if len(out) >= 2*maxEvents {
				out = append(out[:0], out[maxEvents:]...)
			}
		}
		return true
	}, func() bool { return false })
	return out[max(0, len(out)-maxEvents):], err
}

// concerns reports whether a lease's key, as an event has it, is about what was
// asked by name.
func concerns(q why.Question, key string) bool {
	if q.Key != "" {
		return key == schemas.Printable(q.Key, events.MaxKey)
	}
	k, err := commands.ParseKey([]byte(key))
	if err != nil || k.Mode {
		return false
	}
	role := q.Concerns(key, &k.Match)
	return role == why.RoleSource || role == why.RoleVictim
}

// moment is when something was decided by a rule on an interface.
type moment struct {
	host, ifname, rule string
	at                 time.Time
}

// moments are those of the answer's leases and events.
func (x *answer) moments() []moment {
	var out []moment
	for i := range x.Leases {
		l := &x.Leases[i]
		if l.Evidence == nil || l.Role == why.RoleAny {
			continue
		}
		if host, ifname, err := schemas.ParseInterfaceKey(l.Evidence.Interface); err == nil {
			out = append(out, moment{host, ifname, l.Evidence.Rule, l.Since})
		}
	}
	for i := range x.Events {
		e := &x.Events[i]
		if e.Kind == events.KindDecision && e.Step != events.StepRelease {
			out = append(out, moment{e.Host, e.Interface, e.Rule, e.At})
		}
	}
	return out
}

// attacksOf returns the attacks that the answer's leases were against.
func (a *app) attacksOf(ctx context.Context, c *broker.Client, q why.Question, x *answer) ([]attack, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	known := map[string]attacks.Record{}
	err := c.Follow(ctx, c.Topics.Attacks, broker.FromStart(), func(r *kgo.Record) bool {
		if len(r.Value) == 0 {
			delete(known, string(r.Key))
		} else if v, err := attacks.Decode(r.Key, r.Value); err == nil {
			known[v.Key()] = v
		}
		return true
	}, func() bool { return false })
	moments := x.moments()
	out := []attack{}
	for key, r := range known {
		named := slices.ContainsFunc(r.Top, func(l attacks.Lease) bool { return concerns(q, l.Key) })
		if named || slices.ContainsFunc(moments, func(m moment) bool { return within(&r, &m) }) {
			out = append(out, attack{key, r})
		}
	}
	slices.SortFunc(out, byStart)
	return out, err
}

// within reports whether a decision fell into an attack. The two are told by
// different clocks.
func within(r *attacks.Record, m *moment) bool {
	const slack = 2 * time.Second
	return r.Host == m.host && r.Interface == m.ifname && r.Rule == m.rule && !m.at.Before(r.Start.Add(-slack)) &&
		(!r.Ended() || !m.at.After(r.End.Add(slack)))
}
