// Package backtest runs rules over recorded counts: the same window and the same
// engine as the services run, in virtual time, once with the current rules and
// once with new ones. What both would have done stands beside what was done.
//
// Time is that of the records: the ends of their windows. Nothing here reads a
// clock, so the same history gives the same result.
//
// One thing cannot be replayed: what leases do to the traffic. The counts are
// those of a world in which the leases of then were in force. Counts are taken
// before the filter, so that dropped packets are among them; but a source that
// gets no answers sends less, and one that would have got them more.
package backtest

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/detect/engine"
	"github.com/weir-net/weir/services/internal/detect/rules"
	"github.com/weir-net/weir/services/internal/detect/window"
	"github.com/weir-net/weir/services/weir/internal/history"
)

// Options of a run.
type Options struct {
	Old, New  *rules.Rules
	Protected []netip.Prefix // never blocked, besides the reserved ranges
	WholeHost bool           // leases target hosts instead of interfaces
}

// skew is how far a window's end may be from the broker's stamp before the stamp
// is believed: rates that are older decide nothing.
const skew = engine.StaleAfter

// Run is one run over a history. It is not safe for concurrent use.
type Run struct {
	old, new *side
	states   map[string]*window.State
	done     *done
	now      time.Time
	result   Result
}

// New returns a run that has seen nothing.
func New(o Options) *Run {
	return &Run{old: newSide(o.Old, &o), new: newSide(o.New, &o), states: map[string]*window.State{}, done: newDone()}
}

// Command takes a record of the commands topic, in the order of the log. before
// says that it is older than the counts: of such, only what still holds matters.
func (r *Run) Command(x *history.Record, before bool) {
	if !before {
		r.advance(x.Timestamp)
	}
	key := string(x.Key)
	if commands.IsTombstone(x.Value) {
		r.done.released(key, x.Timestamp)
		for _, s := range []*side{r.old, r.new} {
			s.allowEnded(key, r.at(x.Timestamp))
		}
		return
	}
	c, err := commands.Decode(x.Key, x.Value)
	if err != nil || c.Action == commands.SetMode {
		return
	}
	l := commands.NewLease(c, x.Offset, x.Timestamp, x.Timestamp)
	r.done.written(&l, before)
	if l.Action != commands.Allow || l.Issuer == engine.Issuer {
		return // what the policy orders, the engines decide for themselves
	}
	for _, s := range []*side{r.old, r.new} {
		s.engine.Command(&l, r.at(x.Timestamp))
	}
}

// Event takes a record of the events topic.
func (r *Run) Event(x *history.Record) {
	if e, err := events.Decode(x.Value); err == nil {
		r.done.told(&e, x.Timestamp)
	}
}

// at is the time that a record at t happens at: never before another.
func (r *Run) at(t time.Time) time.Time {
	if r.now.After(t) {
		return r.now
	}
	return t
}

func (r *Run) advance(t time.Time) {
	if r.now.IsZero() {
		r.result.From = t.UTC()
	}
	r.now = r.at(t)
	r.result.To = r.now.UTC()
}

// Counts takes a record of the counts topic.
func (r *Run) Counts(x *history.Record) {
	r.result.Records++
	c, err := counts.Decode(x.Value)
	if err != nil || c.Key() != string(x.Key) {
		r.result.Bad++
		return
	}
	t := c.WindowEnd
	if off := t.Sub(x.Timestamp); !x.Timestamp.IsZero() && (off > skew || off < -skew) {
		t = x.Timestamp
	}
	r.advance(t)
	s := r.states[c.Key()]
	if s == nil {
		s = new(window.State)
		r.states[c.Key()] = s
	}
	what := s.Apply(&c)
	if what == window.Duplicate || what == window.Late {
		r.result.Duplicates++
		return
	}
	for _, side := range []*side{r.old, r.new} {
		side.count(&c, r.now)
	}
	if what != window.Updated {
		return
	}
	r.result.Windows++
	r.result.Packets += c.Totals.Packets
	table := *s.Record()
	table.EvidencePartition, table.EvidenceOffset = x.Partition, x.Offset
	for _, side := range []*side{r.old, r.new} {
		side.decide(&table, r.now)
	}
}

// Result returns what has come of it.
func (r *Run) Result() *Result {
	out := r.result
	out.Interfaces = len(r.states)
	r.old.finish(r.now)
	r.new.finish(r.now)
	out.compare(r.old, r.new, r.done)
	return &out
}
