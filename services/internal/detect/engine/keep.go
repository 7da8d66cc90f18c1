package engine

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// Command takes a lease of the commands topic: own ones, so that another
// instance's or an earlier life's are known, and everybody's allows. An allow
// releases own leases that it covers, with the next status. Of own ones that have
// lapsed a relapse knows.
func (e *Engine) Command(l *commands.Lease, now time.Time) {
	if !l.Live(now) {
		e.lapsed(l, now)
		return
	}
	if l.Action == commands.Allow {
		e.allows[l.Key] = l
	}
	if l.Issuer != Issuer || l.Action == commands.SetMode {
		return
	}
	known := e.leases[l.Key]
	if known == nil {
		known = &lease{issuedAt: now, busyAt: now, relapse: e.Rules.Lease.Relapse}
	}
	e.drop(l.Key)
	known.command = l.Command
	known.expiresAt = l.ExpiresAt
	if ev := l.Evidence; ev != nil {
		known.rule = ev.Rule
		known.threshold = ev.Threshold
		if w, err := time.ParseDuration(ev.Window); err == nil && w > 0 {
			known.threshold = ev.Threshold / w.Seconds()
		}
		if l.Rate != nil && e.isAboutMany(ev.Rule, &l.Match) {
			known.threshold = float64(l.Rate.PPS)
		}
		known.careful = known.careful || e.isSoftened(ev.Rule, &l.Command)
	}
	e.hold(l.Key, known)
}

// lapsed takes a lease that is over, and with it what its key had before. An own
// one it remembers for a relapse, as the engine does that issued it.
func (e *Engine) lapsed(l *commands.Lease, now time.Time) {
	delete(e.allows, l.Key)
	if l.Issuer != Issuer || l.Action == commands.SetMode {
		return
	}
	e.drop(l.Key)
	if l.Action != commands.Allow && now.Sub(l.ExpiresAt) <= e.Rules.Lease.Relapse {
		e.past[l.Key] = past{ttl: l.TTL, endedAt: l.ExpiresAt, forget: e.Rules.Lease.Relapse}
	}
}

// isSoftened reports whether a lease is milder than its rule, which it is where
// many may be behind the source: no record says so in another way.
func (e *Engine) isSoftened(rule string, c *commands.Command) bool {
	if !c.Match.Source.IsValid() || c.Action != commands.RateLimit || c.Rate == nil {
		return false
	}
	host, ifname := c.Target.Host, c.Target.Interface
	set := e.resolve(e.Rules.For(host, ifname) | e.Rules.From(host, ifname, c.Match.Source.Addr()))
	for i := range set.Sources {
		if r := &set.Sources[i]; r.ID == rule {
			return r.Action == commands.Drop || r.Action == commands.RateLimit && c.Rate.PPS > r.Rate
		}
	}
	return false
}

// isAboutMany reports whether a lease's threshold is a number of sources, so
// that its renewals are measured by its rate.
func (e *Engine) isAboutMany(rule string, m *commands.Match) bool {
	for i := range e.Rules.Prefixes {
		if e.Rules.Prefixes[i].ID == rule {
			return true
		}
	}
	for i := range e.Rules.Sources {
		if e.Rules.Sources[i].ID == rule {
			return !m.Source.IsValid()
		}
	}
	return false
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
	clear(e.held)
	clear(e.known)
	clear(e.allows)
}

// renewBefore is how long before its end a lease is renewed: long enough for a
// few status records to be missed.
func renewBefore(ttl time.Duration) time.Duration { return min(20*time.Second, ttl/3) }

// lastMoment is how long before its end a lease is renewed that was busy less
// than the quiet time ago: an attack in pulses comes back to a standing lease.
const lastMoment = 5 * time.Second

// Status takes what one interface's leases have dropped, and renews or releases.
// mine says whether this instance decides for the interface.
func (e *Engine) Status(s *status.Record, mine bool, now time.Time) []Decision {
	if !mine || s.Stopped {
		return nil
	}
	e.sweep(now)
	w := e.watch(s.Host, s.Interface, now)
	if !w.status.is(s.At, now) {
		return nil
	}
	var held []*lease
	for _, target := range [...]schemas.Target{
		{Kind: schemas.TargetInterface, Host: s.Host, Interface: s.Interface}, {Kind: schemas.TargetHost, Host: s.Host}, {},
	} {
		for _, l := range e.held[target] {
			held = append(held, l)
		}
	}
	if len(held) == 0 {
		return nil
	}
	drops := make(map[string]uint64, len(s.Filter.Drops))
	for _, d := range s.Filter.Drops {
		drops[d.Key] += d.Packets + d.Would
	}
	var out []Decision
	for _, l := range held {
		key := l.command.Key()
		if d, ok := e.keep(key, l, drops[key], w, now); ok {
			out = append(out, d)
		}
	}
	return out
}

// setOf returns the rules for a lease.
func (e *Engine) setOf(w *watched, m *commands.Match) *rules.Set {
	switch {
	case m.Source.IsValid():
		return e.setFrom(w, m.Source.Addr())
	case m.Destination.IsValid():
		return e.setTo(w, m.Destination.Addr())
	}
	return w.set
}

// offered brings what a lease is offered up to date by what it has dropped on an
// interface. A limit that drops lets its rate through besides.
func (l *lease) offered(on interfaceName, drops uint64, bar float64, now time.Time) {
	i := slices.IndexFunc(l.tallies, func(x tally) bool { return x.on == on })
	if i < 0 {
		i = len(l.tallies)
		l.tallies = append(l.tallies, tally{on: on, drops: drops, at: now})
	}
	x := &l.tallies[i]
	if drops < x.drops {
		x.drops, x.at = drops, now // the entry was made anew
	}
	span := now.Sub(x.at)
	if span < 900*time.Millisecond {
		return
	}
	x.pps = float64(drops-x.drops) / span.Seconds()
	if x.pps > 0 && l.command.Action == commands.RateLimit {
		x.pps += float64(rateOf(&l.command))
	}
	x.drops, x.at = drops, now
	l.pps = 0
	for i := range l.tallies {
		if now.Sub(l.tallies[i].at) <= StaleAfter {
			l.pps += l.tallies[i].pps
		}
	}
	if l.pps > bar {
		l.busyAt = now
	}
}

func (e *Engine) keep(key string, l *lease, drops uint64, w *watched, now time.Time) (Decision, bool) {
	set := e.setOf(w, &l.command.Match)
	if l.command.Action == commands.Allow {
		return e.keepExempt(key, l, set, w.name, now)
	}
	bar := l.threshold * set.Lease.RenewShare
	l.relapse = set.Lease.Relapse
	l.offered(interfaceName{w.host, w.ifname}, drops, bar, now)
	// Who came back gets a longer lease, and is watched for longer.
	quiet := max(set.Lease.Quiet, min(l.command.TTL, set.Lease.Quiet*(l.command.TTL/max(1, set.Lease.First))))
	idle := now.Sub(l.busyAt)
	if e.isOutdone(l, now) {
		return Decision{}, false // nothing reaches it; it lapses
	}
	d := Decision{Key: key, Interface: w.name, Rule: l.rule, Measured: l.pps, Threshold: bar}
	if e.isAllowed(&l.command.Match, w.host, w.ifname, now) {
		d.Step, d.Reason = Release, "released: an allow covers it"
		e.drop(key)
		return d, true
	}
	if l.rule != "" && !set.InForce(l.rule) {
		d.Step, d.Reason = Release, "released: the rules have no "+l.rule+" here any more"
		e.drop(key)
		return d, true
	}
	if idle >= quiet {
		d.Step, d.Reason = Release, fmt.Sprintf("released: it was offered at most %.0f packets/s for %v", bar, quiet)
		e.end(key, l, now)
		return d, true
	}
	left := l.expiresAt.Sub(now)
	if left > renewBefore(l.command.TTL) || idle > 3*time.Second && left > lastMoment {
		return Decision{}, false
	}
	l.renewals++
	e.escalate(l, set)
	l.before, l.expiresAt = l.expiresAt, now.Add(l.command.TTL)
	d.Step, d.Command = Renew, l.command
	d.Reason = fmt.Sprintf("renewed: it is offered %.0f packets/s (> %.0f)", l.pps, bar)
	return d, true
}

// isOutdone reports whether the same source is dropped as a whole.
func (e *Engine) isOutdone(l *lease, now time.Time) bool {
	m := &l.command.Match
	if !m.Source.IsValid() || *m == (commands.Match{Source: m.Source}) {
		return false
	}
	whole := e.lookup(l.command.Target, commands.Match{Source: m.Source}, now)
	return whole != nil && whole.command.Action == commands.Drop
}

// escalate turns a limit into a drop when the rule says so.
func (e *Engine) escalate(l *lease, set *rules.Set) {
	if l.command.Action != commands.RateLimit || l.careful {
		return
	}
	after := 0
	for i := range set.Sources {
		if set.Sources[i].ID == l.rule && l.command.Match.Source.IsValid() {
			after = set.Sources[i].DropAfterRenewals
		}
	}
	for i := range set.Prefixes {
		if set.Prefixes[i].ID == l.rule {
			after = set.Prefixes[i].DropAfterRenewals
		}
	}
	if after > 0 && l.renewals > after {
		l.command.Action, l.command.Rate = commands.Drop, nil
		l.command.Reason = strings.TrimSuffix(l.command.Reason, "; goes on") + "; goes on"
	}
}
