package engine

import (
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// stands asks the interface's past about a rule that holds. One that asks for the
// unusual needs more of what it counts, of a stranger, than the whole interface
// has known at its peaks. Of the others the baseline has a second vote, but only
// for sources of quiet hours: what an interface is used to says nothing about a
// stranger.
func (t *turn) stands(rule *rules.Source, set *rules.Set, s *rates.Source, key *rules.Condition, measured float64) bool {
	switch b := &t.w.usual; {
	case rule.Unusual > 0:
		peak := b.classes[classOf(rule.About())].peak()
		return b.quiet >= set.Baseline.Warm && measured/rule.Window.Seconds() >= rule.Unusual*peak && !t.w.regulars.has(s.Source)
	case !rule.Vote || b.quiet < set.Baseline.Warm || measured >= set.Baseline.Limit*key.Bound() || !t.w.regulars.has(s.Source):
		return true
	}
	class := classOf(rule.About())
	if rule.About() == rules.CoverDominant {
		class = mostOf(s)
	}
	all := &t.r.Window10s
	if rule.Window == time.Second {
		all = &t.r.Window1s
	}
	return !t.isUsual(set, class, float64(all.ByClass[class])/rule.Window.Seconds())
}

// mostOf is the class that the source sends most of.
func mostOf(s *rates.Source) (most schemas.Class) {
	for c, n := range s.Window1s.ByClass {
		if n > s.Window1s.ByClass[most] {
			most = schemas.Class(c)
		}
	}
	return most
}
