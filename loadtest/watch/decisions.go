package watch

import (
	"slices"
	"sync"
	"time"

	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
)

// Decision is one record of the commands topic.
type Decision struct {
	Record
	Command  commands.Command // zero if Released or Err
	Released bool             // a tombstone
	Err      error
}

// PerSource reports whether the decision is about one single source, as
// opposed to a signature or a prefix.
func (d Decision) PerSource() bool {
	p := d.Command.Match.Source
	return !d.Released && d.Err == nil && p.IsValid() && (p.IsSingleIP() || p.Addr().Is6() && p.Bits() >= 64)
}

// Signature reports whether the decision is about a destination.
func (d Decision) Signature() bool {
	return !d.Released && d.Err == nil && !d.Command.Match.Source.IsValid() && d.Command.Match.Destination.IsValid()
}

// Log keeps what a topic said, in order.
type Log[T any] struct {
	mu    sync.Mutex
	items []T
}

// Add appends.
func (l *Log[T]) Add(item T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.items = append(l.items, item)
}

// All returns a copy of everything so far.
func (l *Log[T]) All() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.items)
}

// Len is how many items there are.
func (l *Log[T]) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.items)
}

// Decisions returns a handler of the commands topic that fills log.
func Decisions(log *Log[Decision]) func(Record) {
	return func(r Record) {
		d := Decision{Record: r}
		if commands.IsTombstone(r.Value) {
			d.Released = true
		} else {
			d.Command, d.Err = commands.Decode(r.Key, r.Value)
		}
		log.Add(d)
	}
}

// Rate is one record of the rates topic.
type Rate struct {
	Record
	Rates rates.Record
	Err   error
}

// Rates returns a handler of the rates topic that fills log.
func Rates(log *Log[Rate]) func(Record) {
	return func(r Record) {
		if len(r.Value) == 0 {
			return // the interface was deleted
		}
		x := Rate{Record: r}
		x.Rates, x.Err = rates.Decode(r.Value)
		log.Add(x)
	}
}

// Event is one record of the events topic.
type Event struct {
	Record
	Event events.Record
	Err   error
}

// Events returns a handler of the events topic that fills log.
func Events(log *Log[Event]) func(Record) {
	return func(r Record) {
		x := Event{Record: r}
		x.Event, x.Err = events.Decode(r.Value)
		log.Add(x)
	}
}

// WindowSeen is when a counts window was seen, without its contents.
type WindowSeen struct {
	BootID    string
	Seq       uint64
	End       time.Time
	Timestamp time.Time
	SeenAt    time.Duration
}
