package eval

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

// Lengths of the phases of a run: ordinary traffic, the attack beside it,
// ordinary traffic while leases are in force.
type phases struct{ lead, attack, tail time.Duration }

// The full run is the protocol's. The short ones repeat only its beginning,
// each at another phase of the probe's windows: they say how soon an attack is
// stopped, and nothing about what passes.
var (
	full      = phases{20 * time.Second, 20 * time.Second, 20 * time.Second}
	fullQuick = phases{5 * time.Second, 20 * time.Second, 3 * time.Second}
	short     = phases{12 * time.Second, 5 * time.Second, 0}
	answered  = phases{12 * time.Second, 20 * time.Second, 0}
)

const (
	shortRuns = 9
	phaseSpan = 250 * time.Millisecond // of the random phase: one window
)

// plan lists all runs, those of one capture together, the longest first: no
// worker is to be alone with a long one in the end.
func (e *evaluation) plan(items []*item) [][]*job {
	var courses [][]*job
	for _, it := range items {
		if e.Only != "" && it.name != e.Only {
			continue
		}
		course := e.ordinary(it)
		if it.kindOf() == kindAttack {
			course = e.attacks(items, it)
		}
		courses = append(courses, course)
	}
	slices.SortStableFunc(courses, func(a, b []*job) int { return cmp.Compare(length(b), length(a)) })
	return courses
}

func (e *evaluation) attacks(items []*item, it *item) []*job {
	frames := it.attackFrames()
	run := func(what string, x phases) *job {
		return &job{
			item: it, what: what, lead: x.lead, attack: x.attack, tail: x.tail,
			phase: rand.N(phaseSpan), attackFrames: frames, backdrop: newBackdrop(items, it, x.lead+x.attack+x.tail),
		}
	}
	if e.Quick {
		return []*job{run(runFull, fullQuick)}
	}
	out := []*job{run(runFull, full)}
	if it.label.Expected == wantLimit {
		out = append(out, run(runAnswered, answered))
	}
	for range shortRuns {
		out = append(out, run(runShort, short))
	}
	return out
}

// ordinary plays what must not be touched: at its own speed the busiest minute,
// and five times as fast the busiest minutes.
func (e *evaluation) ordinary(it *item) []*job {
	run := func(what string, span time.Duration, times int) *job {
		return &job{item: it, what: what, lead: settling, attack: span, attackFrames: faster(busiest(it.frames, span*time.Duration(times)), times)}
	}
	switch {
	case it.kindOf() == kindAlert:
		return []*job{run(runNative, 20*time.Second, 1)}
	case e.Quick:
		return []*job{run(runFast, 15*time.Second, 5)}
	}
	return []*job{run(runNative, time.Minute, 1), run(runFast, 30*time.Second, 5)}
}
