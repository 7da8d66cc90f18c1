package eval

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
)

// weir is the policy that is evaluated, among those in the tables.
const weir = "Weir"

// tally is packets by what became of them.
type tally struct{ packets, dropped uint64 }

func (t *tally) add(o tally) { t.packets, t.dropped = t.packets+o.packets, t.dropped+o.dropped }

// share is the share of dropped packets in per cent.
func (t tally) share() float64 {
	if t.packets == 0 {
		return 0
	}
	return 100 * float64(t.dropped) / float64(t.packets)
}

// outcome is what one policy made of one run.
type outcome struct {
	policy    string
	job       *job
	first     time.Duration // boot time of the first attack packet
	firstDrop time.Duration // 0: nothing was dropped
	stages    scenario.Stages
	rules     map[string]int // leases by rule

	attack, benign tally
	withheld       uint64 // attack packets that a client without an answer does not send
	visitors       tally  // of the attacked host, since the attack began
	blocked        map[netip.Addr]bool
	perSource      int // leases
	signatures     int
	hit            bool // a lease names a source of the attack, or what it looks like
}

// mitigated is the time from the first attack packet to the first drop; false
// if there was none.
func (o *outcome) mitigated() (time.Duration, bool) {
	return o.firstDrop - o.first, o.firstDrop > 0
}

// recorder keeps what the topics say about one run.
type recorder struct {
	sums      *watch.Counts
	windows   watch.Log[watch.WindowSeen]
	ratesLog  watch.Log[watch.Rate]
	decisions watch.Log[watch.Decision]

	mu         sync.Mutex
	thresholds []*threshold
}

func newRecorder() *recorder {
	r := &recorder{sums: watch.NewCounts(lab.DataInterface), thresholds: thresholds()}
	r.sums.OnWindow(func(w watch.Window) {
		r.windows.Add(watch.WindowSeen{
			BootID: w.BootID, Seq: w.Seq, End: w.End, Timestamp: w.Record.Timestamp, SeenAt: w.Record.SeenAt,
		})
	})
	return r
}

func (r *recorder) counts(rec watch.Record) {
	r.sums.Handle(rec)
	c, err := counts.Decode(rec.Value)
	if err != nil {
		return // the sums tell of it
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.thresholds {
		t.chunk(&c)
	}
}

func (r *recorder) rates(rec watch.Record) { watch.Rates(&r.ratesLog)(rec) }

// mark is what had been counted and dropped at some moment.
type mark struct {
	sums    map[netip.Addr]tally
	dropped []map[netip.Addr]uint64 // by threshold
}

func (r *recorder) mark() mark {
	m := mark{sums: make(map[netip.Addr]tally)}
	for source, c := range r.sums.Sums().Sources {
		m.sums[source] = tally{c.Packets, c.Dropped}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.thresholds {
		m.dropped = append(m.dropped, t.snapshot())
	}
	return m
}

// sort attributes what was counted to those who sent it.
func (p *play) sort(out *outcome, dropped func(m *mark, source netip.Addr) uint64) {
	for source, c := range p.end.sums {
		t := tally{c.packets, dropped(&p.end, source)}
		if p.item.kindOf() != kindBenign && p.item.attack[source] {
			out.attack.add(t)
			continue
		}
		out.benign.add(t)
		if p.backdrop.visitors[source] {
			before := p.before.sums[source]
			out.visitors.add(tally{t.packets - before.packets, t.dropped - dropped(&p.before, source)})
		}
	}
}

// outcomes are Weir's and, of runs that are long enough, those of thresholds.
func (p *play) outcomes() ([]*outcome, error) {
	w, err := p.weir()
	if err != nil || p.what == runShort || p.what == runAnswered {
		return []*outcome{w}, err
	}
	out := []*outcome{w}
	p.rec.mu.Lock()
	defer p.rec.mu.Unlock()
	for i, t := range p.rec.thresholds {
		out = append(out, p.threshold(i, t))
	}
	return out, nil
}

func (p *play) weir() (*outcome, error) {
	out := &outcome{
		policy: weir, job: p.job, first: p.first, firstDrop: p.firstDrop, withheld: p.withheld,
		rules: make(map[string]int), blocked: make(map[netip.Addr]bool),
	}
	p.sort(out, func(m *mark, source netip.Addr) uint64 { return m.sums[source].dropped })
	if sum := out.attack.dropped + out.benign.dropped; sum != p.drops {
		return nil, fmt.Errorf("%d packets were dropped, %d of sources that are known", p.drops, sum)
	}
	prefixes, first := p.leases(out)
	for source := range p.end.sums {
		if p.item.kindOf() != kindBenign && p.item.attack[source] {
			continue
		}
		for _, prefix := range prefixes {
			if prefix.Contains(source) {
				out.blocked[source] = true
			}
		}
	}
	if p.firstDrop == 0 {
		return out, nil
	}
	if first == nil {
		return nil, fmt.Errorf("packets were dropped, and nothing had been decided")
	}
	if decided := bootTimeOf(first.Timestamp); p.firstDrop < decided-50*time.Millisecond {
		return nil, fmt.Errorf("packets were dropped %v before anything was decided", decided-p.firstDrop)
	}
	out.stages = scenario.Split(*first, p.rec.ratesLog.All(), p.rec.windows.All(), p.first, p.firstDrop)
	return out, nil
}

// bootTimeOf converts a wall clock's time, as of now.
func bootTimeOf(t time.Time) time.Duration {
	return time.Duration(t.UnixNano()) + traffic.BootTime() - time.Duration(time.Now().UnixNano())
}

// leases counts what was decided, and returns the prefixes that are blocked, and
// the first decision.
func (p *play) leases(out *outcome) (prefixes []netip.Prefix, first *watch.Decision) {
	seen := make(map[string]bool)
	for _, d := range p.rec.decisions.All() {
		key, m := string(d.Key), d.Command.Match
		if d.Command.Action != commands.Drop && d.Command.Action != commands.RateLimit || seen[key] || p.late[d.Offset] {
			continue
		}
		seen[key] = true
		if first == nil {
			first = &d
		}
		if d.Command.Evidence != nil {
			rule, _, _ := strings.Cut(d.Command.Evidence.Rule, " ")
			out.rules[rule]++
		}
		out.hit = out.hit || p.item.isNamedBy(m)
		switch {
		case m.Source.IsValid():
			prefixes = append(prefixes, m.Source)
			out.perSource++
		case d.Signature():
			out.signatures++
		}
	}
	return prefixes, first
}

// isNamedBy reports whether a match names a source of the attack, or its victim.
func (it *item) isNamedBy(m commands.Match) bool {
	if !m.Source.IsValid() {
		return m.Destination.IsValid() && m.Destination.Contains(it.victim)
	}
	for source := range it.attack {
		if m.Source.Contains(source) {
			return true
		}
	}
	return false
}

// threshold is what the i-th threshold makes of the same counts.
func (p *play) threshold(i int, t *threshold) *outcome {
	out := &outcome{policy: t.name, job: p.job, first: p.first, rules: make(map[string]int), blocked: make(map[netip.Addr]bool)}
	p.sort(out, func(m *mark, source netip.Addr) uint64 { return m.dropped[i][source] })
	for source, at := range t.blocked {
		out.perSource++
		if p.item.kindOf() == kindBenign || !p.item.attack[source] {
			out.blocked[source] = true
			continue
		}
		out.hit = true
		if when := max(bootTimeOf(at), p.first); out.firstDrop == 0 || when < out.firstDrop {
			out.firstDrop = when
		}
	}
	return out
}
