package eval

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
)

// Lengths of the phases of a run: ordinary traffic, the attack beside it,
// ordinary traffic while leases are in force.
type phases struct{ lead, attack, tail time.Duration }

// The full run is the protocol's. The short ones repeat only its beginning,
// each at another phase of the probe's windows: they say how soon an attack is
// stopped, and nothing about what passes.
var (
	full       = phases{20 * time.Second, 20 * time.Second, 20 * time.Second}
	fullQuick  = phases{5 * time.Second, 10 * time.Second, 3 * time.Second}
	short      = phases{4 * time.Second, 5 * time.Second, 0}
	comparison = phases{5 * time.Second, 20 * time.Second, 3 * time.Second} // of other policies
)

const (
	shortRuns = 9
	phaseSpan = 250 * time.Millisecond // of the random phase: one window
)

// plan lists all runs.
func (e *evaluation) plan(items []*item) []*job {
	var jobs []*job
	for _, p := range e.policies {
		for _, it := range items {
			if e.Only != "" && it.name != e.Only {
				continue
			}
			if it.kindOf() == kindAttack {
				jobs = append(jobs, e.attacks(p, items, it)...)
			} else {
				jobs = append(jobs, e.ordinary(p, it)...)
			}
		}
	}
	for i, j := range jobs {
		j.host = fmt.Sprintf("run%d", i)
	}
	sortLongestFirst(jobs)
	return jobs
}

func (e *evaluation) attacks(p *policy, items []*item, it *item) []*job {
	frames := it.attackFrames()
	make := func(what string, x phases) *job {
		return &job{
			policy: p, item: it, what: what, lead: x.lead, attack: x.attack, tail: x.tail,
			phase: rand.N(phaseSpan), attackFrames: frames, backdrop: newBackdrop(items, it, x.lead+x.attack+x.tail),
		}
	}
	switch {
	case !p.weir:
		return []*job{make("full", comparison)}
	case e.Quick:
		return []*job{make("full", fullQuick)}
	}
	out := []*job{make("full", full)}
	for range shortRuns {
		out = append(out, make("short", short))
	}
	return out
}

// ordinary plays what must not be touched: at its own speed the busiest minute,
// and at five times that speed.
func (e *evaluation) ordinary(p *policy, it *item) []*job {
	span := time.Minute
	if e.Quick {
		span = 15 * time.Second
	}
	if !p.weir {
		span = 30 * time.Second
	}
	make := func(what string, frames []capture.Frame) *job {
		return &job{policy: p, item: it, what: what, attack: span, attackFrames: frames}
	}
	native := make("native", busiest(it.frames, span))
	if !p.weir || it.kindOf() == kindAlert {
		return []*job{native}
	}
	fast := make("5×", faster(busiest(it.frames, 5*span), 5))
	if e.Quick {
		return []*job{fast}
	}
	return []*job{native, fast}
}

// thresholdRules drop every source beyond so many packets per second, for a
// minute at least: what people do without Weir.
func thresholdRules(pps int) string {
	return fmt.Sprintf(`version: 1
sources:
  - id: T%d
    name: more packets per second than are allowed
    window: 1s
    all: [{metric: packets, at_least: %d}]
    action: drop
    cover: all
`, pps, pps) + leaseRules
}

// noRules decide nothing.
const noRules = "version: 1\n" + leaseRules

const leaseRules = `lease: {first: 60s, longest: 1h, relapse: 10m, quiet: 30s, renew_share: 0.5}
budget: {per_second: 256, total: 65536}
`
