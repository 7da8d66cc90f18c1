package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/status"
)

// Command takes a live lease of the commands topic: own ones, so that another
// instance's or an earlier life's are known, and everybody's allows.
func (e *Engine) Command(l *commands.Lease, now time.Time) {
	if l.Action == commands.Allow {
		e.allows[l.Key] = l
	}
	if l.Issuer != Issuer || l.Action == commands.SetMode {
		return
	}
	known := e.leases[l.Key]
	if known == nil {
		known = &lease{busyAt: now}
		e.leases[l.Key] = known
	}
	known.command = l.Command
	known.expiresAt = l.ExpiresAt
	if ev := l.Evidence; ev != nil {
		known.rule = ev.Rule
		known.threshold = ev.Threshold
		if w, err := time.ParseDuration(ev.Window); err == nil && w > 0 {
			known.threshold = ev.Threshold / w.Seconds()
		}
	}
}

// Released takes a tombstone.
func (e *Engine) Released(key string, now time.Time) {
	delete(e.allows, key)
	if l := e.leases[key]; l != nil {
		e.end(key, l, now)
	}
}

// Forget drops everything that came from the topic: it is read anew. What this
// engine has decided since stays, by the same keys, when the replay brings it.
func (e *Engine) Forget() {
	clear(e.leases)
	clear(e.allows)
}

// renewBefore is how long before its end a lease is renewed: long enough for a
// few status records to be missed.
func renewBefore(ttl time.Duration) time.Duration { return min(20*time.Second, ttl/3) }

// Status takes what one interface's leases have dropped, and renews or releases.
// mine says whether this instance decides for the interface.
func (e *Engine) Status(s *status.Record, mine bool, now time.Time) []Decision {
	if !mine || s.Stopped || now.Sub(s.At) > StaleAfter {
		return nil
	}
	e.expire(now)
	name := schemas.InterfaceKey(s.Host, s.Interface)
	drops := map[string]uint64{}
	for _, d := range s.Filter.Drops {
		drops[d.Key] += d.Packets + d.Would
	}
	var out []Decision
	for key, l := range e.leases {
		if !l.command.Target.Matches(s.Host, s.Interface) {
			continue
		}
		if d, ok := e.keep(key, l, drops[key], name, now); ok {
			out = append(out, d)
		}
	}
	return out
}

func (e *Engine) keep(key string, l *lease, drops uint64, name string, now time.Time) (Decision, bool) {
	rules := &e.Rules.Lease
	bar := l.threshold * rules.RenewShare
	if span := now.Sub(l.dropsAt); l.dropsAt.IsZero() || drops < l.drops {
		l.drops, l.dropsAt = drops, now // first look, or the entry was made anew
	} else if span >= 900*time.Millisecond {
		l.pps = float64(drops-l.drops) / span.Seconds()
		l.drops, l.dropsAt = drops, now
		if l.pps > bar {
			l.busyAt = now
		}
	}
	d := Decision{Key: key, Interface: name, Rule: l.rule, Measured: l.pps, Threshold: bar}
	if now.Sub(l.busyAt) >= rules.Quiet {
		d.Step, d.Reason = Release, fmt.Sprintf("released: it dropped at most %.0f packets/s for %v", bar, rules.Quiet)
		e.end(key, l, now)
		return d, true
	}
	if l.expiresAt.Sub(now) > renewBefore(l.command.TTL) || now.Sub(l.busyAt) > 3*time.Second {
		return Decision{}, false
	}
	l.renewals++
	e.escalate(l)
	l.expiresAt = now.Add(l.command.TTL)
	d.Step, d.Command = Renew, l.command
	d.Reason = fmt.Sprintf("renewed: it drops %.0f packets/s (> %.0f)", l.pps, bar)
	return d, true
}

// escalate turns a limit into a drop when the rule says so.
func (e *Engine) escalate(l *lease) {
	if l.command.Action != commands.RateLimit {
		return
	}
	for i := range e.Rules.Sources {
		r := &e.Rules.Sources[i]
		if r.ID == l.rule && r.DropAfterRenewals > 0 && l.renewals > r.DropAfterRenewals {
			l.command.Action, l.command.Rate = commands.Drop, nil
			l.command.Reason = strings.TrimSuffix(l.command.Reason, "; goes on") + "; goes on"
		}
	}
}
