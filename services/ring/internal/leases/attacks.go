package leases

import (
	"slices"
	"time"

	"github.com/weir-net/weir/schemas/commands"
)

// Attack is what a rule saw on one interface: every lease that it led to there,
// from the first until the last has ended.
type Attack struct {
	Rule      string
	Interface string // "<host>/<ifname>" of the evidence, else the lease's target
	Reason    string // of the latest lease
	Issuer    string
	Action    commands.Action
	Match     string // of the latest lease
	Measured  float64
	Threshold float64
	Leases    int       // live now
	Total     int       // ever
	Began     time.Time // the broker's time of the first lease
	Ended     time.Time // zero while it goes on

	keys  map[string]bool // of live leases
	until time.Time       // when the last of them lapses
}

// How many attacks are kept, and how soon a new lease belongs to the last one.
const (
	maxAttacks  = 200
	attackPause = time.Minute
)

// Attacks returns those that go on and those that are over, the newest first.
func (s *Set) Attacks() []Attack {
	out := make([]Attack, 0, len(s.attacks))
	for _, a := range slices.Backward(s.attacks) {
		c := *a
		c.keys = nil
		out = append(out, c)
	}
	return out
}

// noteAttack counts l to the attack of its rule and interface. A lease without
// evidence was somebody's own idea, not an attack that a rule saw.
func (s *Set) noteAttack(l *commands.Lease) {
	if l.Evidence == nil || l.Evidence.Rule == "" || l.Action == commands.SetMode || l.Action == commands.Allow {
		return
	}
	where := l.Evidence.Interface
	if where == "" {
		where = l.Target.String()
	}
	a := s.attack(l.Evidence.Rule, where, l.IssuedAt)
	if a == nil {
		a = &Attack{Rule: l.Evidence.Rule, Interface: where, Began: l.IssuedAt, keys: make(map[string]bool)}
		s.attacks = append(s.attacks, a)
		if len(s.attacks) > maxAttacks {
			s.attacks = slices.Delete(s.attacks, 0, 1)
		}
	}
	if !a.keys[l.Key] {
		a.keys[l.Key] = true
		a.Total++
	}
	a.Leases, a.Ended = len(a.keys), time.Time{}
	if l.ExpiresAt.After(a.until) {
		a.until = l.ExpiresAt
	}
	a.Reason, a.Issuer, a.Action, a.Match = l.Reason, l.Issuer, l.Action, l.Match.String()
	a.Measured, a.Threshold = l.Evidence.Measured, l.Evidence.Threshold
}

// attack finds the one that a lease issued at now belongs to. In a replay the
// leases of an old attack have lapsed, although nobody has called Expire since.
func (s *Set) attack(rule, where string, now time.Time) *Attack {
	for _, a := range slices.Backward(s.attacks) {
		if a.Rule != rule || a.Interface != where {
			continue
		}
		end := a.Ended
		if end.IsZero() {
			end = a.until
		}
		if now.Sub(end) < attackPause {
			return a
		}
		return nil // older ones ended earlier still
	}
	return nil
}

func (s *Set) endAttack(key string, at time.Time) {
	for _, a := range s.attacks {
		if a.keys[key] {
			delete(a.keys, key)
			if a.Leases = len(a.keys); a.Leases == 0 {
				a.Ended = at
			}
		}
	}
}
