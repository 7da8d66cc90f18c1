package engine

import (
	"fmt"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// maxExempt bounds the allows that go with signatures.
const maxExempt = 256

// exempt writes an allow for each protected prefix when a signature is written:
// a signature takes packets whatever their source, and so the answers of the
// host's own resolver in a flood of other resolvers' answers.
func (t *turn) exempt(o *order) {
	for i, p := range t.Protected {
		m := commands.Match{Source: p}
		if i >= maxExempt || p.Addr().Is4() != o.match.Destination.Addr().Is4() || t.lookup(t.w.target, m, t.now) != nil {
			continue
		}
		c := commands.Command{Target: t.w.target, Match: m, Action: commands.Allow, Issuer: Issuer, TTL: o.set.Lease.First, Evidence: t.evidence(o),
			Reason: fmt.Sprintf("%v is protected: no signature may take its packets", p)}
		key := c.Key()
		t.hold(key, &lease{command: c, rule: o.rule, issuedAt: t.now, expiresAt: t.now.Add(c.TTL), busyAt: t.now})
		x := *o
		x.reason = c.Reason
		t.decide(Issue, key, c, &x)
	}
}

// keepExempt renews an allow as long as there is a signature that it is for.
func (e *Engine) keepExempt(key string, l *lease, set *rules.Set, name string, now time.Time) (Decision, bool) {
	d := Decision{Key: key, Interface: name, Rule: l.rule}
	if !e.hasSignature(l.command.Target, now) {
		e.drop(key)
		d.Step, d.Reason = Release, "released: no signature is in force any more"
		return d, true
	}
	if l.expiresAt.Sub(now) > renewBefore(l.command.TTL) {
		return Decision{}, false
	}
	l.command.TTL = set.Lease.First
	l.before, l.expiresAt = l.expiresAt, now.Add(l.command.TTL)
	d.Step, d.Command, d.Reason = Renew, l.command, "renewed: signatures are in force"
	return d, true
}

func (e *Engine) hasSignature(target schemas.Target, now time.Time) bool {
	for m, l := range e.held[target] {
		if !m.Source.IsValid() && now.Before(l.expiresAt) {
			return true
		}
	}
	return false
}
