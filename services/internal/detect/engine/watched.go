package engine

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// goneAfter is how long an interface is remembered of which nothing is heard:
// as long as the table of rates has it.
const goneAfter = 10 * time.Minute

// sweepEvery is how often what has ended is taken out. In between, what has
// ended is recognised by its time.
const sweepEvery = time.Second

// watched is one interface. Its size does not depend on how many sources there
// are, or for how long: every map in it is bounded.
type watched struct {
	host, ifname string
	name         string // <host>/<ifname>
	target       schemas.Target
	set          *rules.Set
	seen         time.Time
	rates        fresh
	status       fresh

	tokens   float64 // of new source leases
	tokensAt time.Time
	told     map[string]time.Time // when which alert was given
	since    map[sinceKey]since   // conditions that must hold for a while
	recent   []recentLease        // oldest first, for rules about prefixes
	unusual  [schemas.NumClasses]since
	usual    baseline
	regulars regulars

	rememberedAt time.Time // when Remember last returned it
}

type since struct{ from, last time.Time }

// sinceKey names a condition of a rule about a source.
type sinceKey struct {
	source netip.Addr
	rule   string
	metric string
}

type recentLease struct {
	source netip.Prefix
	at     time.Time
}

// maxTold bounds the alerts that are remembered per interface.
const maxTold = 256

// interfaceName is <host>/<ifname> in two parts, which costs no text.
type interfaceName struct{ host, ifname string }

func (e *Engine) watch(host, ifname string, now time.Time) *watched {
	name := interfaceName{host, ifname}
	w := e.watched[name]
	if w == nil {
		w = &watched{host: host, ifname: ifname, name: schemas.InterfaceKey(host, ifname), target: e.target(host, ifname), set: e.resolve(e.Rules.For(host, ifname)),
			told: map[string]time.Time{}, since: map[sinceKey]since{}}
		w.tokens, w.tokensAt, w.rememberedAt = float64(w.set.Budget.PerSecond), now, now
		e.watched[name] = w
		if r := e.recalled[name]; r != nil {
			w.recall(r, now)
			delete(e.recalled, name)
		}
	}
	w.seen = now
	return w
}

// held advances s by one record in which the condition holds, and returns for
// how long it has. Two seconds without a record are a break.
func (s *since) held(now time.Time) time.Duration {
	if s.from.IsZero() || now.Sub(s.last) > 2*time.Second {
		s.from = now
	}
	s.last = now
	return now.Sub(s.from)
}

// tell reports whether an alert about what is due: at most one in again.
func (w *watched) tell(what string, again time.Duration, now time.Time) bool {
	if at, ok := w.told[what]; ok && now.Sub(at) < again {
		return false
	}
	if len(w.told) >= maxTold {
		clear(w.told) // an alert too many rather than memory
	}
	w.told[what] = now
	return true
}

// spend takes one new source lease out of the interface's budget.
func (e *Engine) spend(w *watched, now time.Time) bool {
	limit := float64(w.set.Budget.PerSecond)
	w.tokens = min(limit, w.tokens+limit*now.Sub(w.tokensAt).Seconds())
	w.tokensAt = now
	if w.tokens < 1 || len(e.leases) >= w.set.Budget.Total {
		return false
	}
	w.tokens--
	return true
}

// sweep takes out what has ended.
func (e *Engine) sweep(now time.Time) {
	if now.Sub(e.sweptAt) < sweepEvery && !now.Before(e.sweptAt) {
		return
	}
	e.sweptAt = now
	for key, l := range e.leases {
		if !now.Before(l.expiresAt) {
			e.end(key, l, l.expiresAt)
		}
	}
	for key, p := range e.past {
		if now.Sub(p.endedAt) > p.forget {
			delete(e.past, key)
		}
	}
	for key, a := range e.allows {
		if !a.Live(now) {
			delete(e.allows, key)
		}
	}
	for name, r := range e.recalled {
		if now.Sub(r.UpdatedAt) >= forgottenAfter {
			delete(e.recalled, name)
		}
	}
	for name, w := range e.watched {
		if now.Sub(w.seen) > goneAfter {
			r := w.remember(now) // it may come back
			e.recalled[name] = &r
			delete(e.watched, name)
			continue
		}
		for k, s := range w.since {
			if now.Sub(s.last) > 2*time.Second {
				delete(w.since, k)
			}
		}
		n, keep := 0, longestWindow(w.set)
		for n < len(w.recent) && now.Sub(w.recent[n].at) > keep {
			n++
		}
		w.recent = append(w.recent[:0], w.recent[n:]...)
	}
}

// lookup returns the live lease on a match, or nil.
func (e *Engine) lookup(target schemas.Target, m commands.Match, now time.Time) *lease {
	if l := e.held[target][m]; l != nil && now.Before(l.expiresAt) {
		return l
	}
	return nil
}

// hold takes a lease into the state.
func (e *Engine) hold(key string, l *lease) {
	e.drop(key)
	e.leases[key] = l
	byMatch := e.held[l.command.Target]
	if byMatch == nil {
		byMatch = map[commands.Match]*lease{}
		e.held[l.command.Target] = byMatch
	}
	byMatch[l.command.Match] = l
	if l.regular {
		e.known[l.command.Target]++
	}
}

// drop takes a lease out of the state.
func (e *Engine) drop(key string) {
	l := e.leases[key]
	if l == nil {
		return
	}
	delete(e.leases, key)
	t := l.command.Target
	delete(e.held[t], l.command.Match)
	if len(e.held[t]) == 0 {
		delete(e.held, t)
	}
	if l.regular {
		if e.known[t]--; e.known[t] <= 0 {
			delete(e.known, t)
		}
	}
}

// end takes a lease out of the state and remembers it for a relapse.
func (e *Engine) end(key string, l *lease, at time.Time) {
	e.drop(key)
	e.past[key] = past{ttl: l.command.TTL, endedAt: at, forget: l.relapse}
}
