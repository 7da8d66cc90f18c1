package eval

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/loadtest/scenario"
)

// line is what one policy did about one capture, over all runs.
type line struct {
	item       *item
	runs, hits int             // of attacks: in how many runs it was found
	times      []time.Duration // to mitigate
	stages     []scenario.Stages
	attack     tally // of full runs
	answered   tally // of runs in which the attacker needs answers
	benign     tally
	visitors   tally
	blocked    map[netip.Addr]bool
	perSource  int // leases, of all runs
	signatures int
	rules      map[string]int
}

// found reports whether the attack was found in every run.
func (l *line) found() bool { return l.runs > 0 && l.hits == l.runs }

// bySignature reports whether the attack's sources are spoofed or reflect, so
// that no lease may name one.
func (l *line) bySignature() bool { return l.item.label.Expected == wantSignature }

// summary is what one policy did.
type summary struct {
	policy  string
	attacks []*line
	others  []*line

	found           int
	times           []time.Duration
	stages          []scenario.Stages
	attack, benign  tally
	visitors        tally
	blocked         int // sources, each capture's by itself
	perSourceWrong  int // leases on single sources for signature attacks
	visitorsStarved int // attacked hosts of whose visitors nothing passed
}

// minimumShare is how much of a spoofed or reflected flood must be dropped, in
// per cent, for it to count as found: one source of thousands says nothing.
const minimumShare = 50

// stopped reports whether the run's attack was found: a lease names it, and of an
// attack with many sources, it drops most, if the run is long enough to tell. An
// attacker who has opened all of his connections within one window sends nothing
// more that a lease could drop.
func (o *outcome) stopped() bool {
	judged := o.job.what == runFull && o.job.item.label.Expected == wantSignature
	return o.hit && (!judged || o.attack.share() >= minimumShare)
}

// summarize adds the runs of one policy up.
func summarize(policy string, outcomes []*outcome) *summary {
	lines := make(map[string]*line)
	for _, o := range outcomes {
		if o.policy != policy {
			continue
		}
		l := lines[o.job.item.name]
		if l == nil {
			l = &line{item: o.job.item, blocked: make(map[netip.Addr]bool), rules: make(map[string]int)}
			lines[o.job.item.name] = l
		}
		l.add(o)
	}
	s := &summary{policy: policy}
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		s.add(lines[name])
	}
	return s
}

func (l *line) add(o *outcome) {
	l.runs++
	if o.stopped() {
		l.hits++
	}
	if d, ok := o.mitigated(); ok && l.item.kindOf() == kindAttack {
		l.times = append(l.times, d)
		l.stages = append(l.stages, o.stages)
	}
	switch {
	case o.job.what == runFull, l.item.kindOf() == kindAlert:
		l.attack.add(o.attack)
		l.visitors.add(o.visitors)
	case o.job.what == runAnswered:
		l.answered.add(tally{o.attack.packets + o.withheld, o.attack.dropped + o.withheld})
	}
	l.benign.add(o.benign)
	l.perSource += o.perSource
	l.signatures += o.signatures
	maps.Copy(l.blocked, o.blocked)
	for rule, n := range o.rules {
		l.rules[rule] += n
	}
}

func (s *summary) add(l *line) {
	if l.item.kindOf() == kindAlert {
		s.others = append(s.others, l)
		return // neither an attack to be found nor traffic to be spared
	}
	s.benign.add(l.benign)
	s.blocked += len(l.blocked)
	if l.item.kindOf() == kindBenign {
		s.others = append(s.others, l)
		return
	}
	s.attacks = append(s.attacks, l)
	if l.found() {
		s.found++
	}
	s.times = append(s.times, l.times...)
	s.stages = append(s.stages, l.stages...)
	s.attack.add(l.attack)
	s.visitors.add(l.visitors)
	if l.visitors.packets > 0 && l.visitors.dropped == l.visitors.packets {
		s.visitorsStarved++
	}
	if l.bySignature() {
		s.perSourceWrong += l.perSource
	}
}

// target is one goal.
type target struct {
	what      string
	got, want float64
	atLeast   bool
	unit      string
}

func (t target) met() bool {
	if t.atLeast {
		return t.got >= t.want
	}
	return t.got <= t.want
}

// Targets of the rules, of eleven attacks; on other captures the same share.
const (
	foundOf        = 9    // of eleven
	maxBenignDrops = 0.05 // per cent
	maxPassed      = 6.0  // per cent
	maxP50         = 450 * time.Millisecond
	maxP99         = 1500 * time.Millisecond
	enoughForP99   = 50 // runs; of fewer, it is the slowest one
)

func (s *summary) targets() []target {
	passed := 0.0
	if s.attack.packets > 0 {
		passed = 100 - s.attack.share()
	}
	out := []target{
		{"attacks found", float64(s.found), float64((foundOf*len(s.attacks) + 10) / 11), true, ""},
		{"time to mitigate, p50", ms(quantile(s.times, 0.5)), ms(maxP50), false, "ms"},
		{"attack packets passed", passed, maxPassed, false, "%"},
		{"benign packets dropped", s.benign.share(), maxBenignDrops, false, "%"},
		{"benign sources blocked", float64(s.blocked), 0, false, ""},
		{"per-source leases on signature attacks", float64(s.perSourceWrong), 0, false, ""},
		{"attacked hosts cut off from visitors", float64(s.visitorsStarved), 0, false, ""},
	}
	if len(s.times) >= enoughForP99 {
		out = append(out, target{"time to mitigate, p99", ms(quantile(s.times, 0.99)), ms(maxP99), false, "ms"})
	}
	return out
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile is the smallest value that at least a share q of all do not exceed.
func quantile[T cmp.Ordered](values []T, q float64) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}
