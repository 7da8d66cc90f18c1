// Package wait decides whether every live probe has applied a version of
// something: an offset of the commands topic today, whatever else a component
// of a probe applies tomorrow. It sees status records and does no input or
// output.
package wait

import (
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/status"
)

// Wait gathers the status of the interfaces that Target names until all of
// them have applied Offset of Component.
type Wait struct {
	Component string
	Offset    int64
	At        time.Time // the broker's timestamp of the record at Offset
	Target    schemas.Target

	interfaces map[string]*state
}

// state is one interface.
type state struct {
	last    status.Record
	lastAt  time.Time // the broker's timestamp of last
	applied bool
	took    time.Duration // from At to the first status that has it
	suspect bool
}

// Observe takes one status record with the broker's timestamp of it, in the
// order of the topic.
func (w *Wait) Observe(r status.Record, at time.Time) {
	if !w.Target.Matches(r.Host, r.Interface) {
		return
	}
	if w.interfaces == nil {
		w.interfaces = make(map[string]*state)
	}
	s, known := w.interfaces[r.Key()]
	if !known {
		s = &state{}
		w.interfaces[r.Key()] = s
	}
	// A new start of the probe has to catch up again.
	if known && s.last.BootID != r.BootID {
		*s = state{}
		known = false
	}
	if !s.applied && r.Applied(w.Component, w.Offset) {
		s.applied = true
		s.took = max(0, at.Sub(w.At))
		// The offset also counts as applied when the guard refused the
		// command: then one of these counters moved with it.
		s.suspect = known && (r.Filter.Rejected > s.last.Filter.Rejected || r.Filter.Suspended > s.last.Filter.Suspended)
	}
	s.last, s.lastAt = r, at
}

// Forget drops the interface with the key: its record was deleted.
func (w *Wait) Forget(key string) { delete(w.interfaces, key) }

// Result is where things stand.
type Result struct {
	Applied   []string      // interface keys, sorted
	Pending   []string      // live, but not yet
	Observing []string      // of Applied: those that only count what they would drop
	Off       []string      // of Applied: those that let everything pass
	Suspects  []string      // of Applied: something was rejected or suspended in the same step
	Took      time.Duration // until the last of Applied
}

// Done reports whether there are live interfaces and all have applied.
func (r Result) Done() bool { return len(r.Applied) > 0 && len(r.Pending) == 0 }

// Live is the number of live interfaces.
func (r Result) Live() int { return len(r.Applied) + len(r.Pending) }

// Result judges at now, in the broker's time: an interface is live unless it
// said goodbye or its last status is older than schemas.StaleAfter.
func (w *Wait) Result(now time.Time) Result {
	var out Result
	for key, s := range w.interfaces {
		if s.last.Stopped || now.Sub(s.lastAt) >= schemas.StaleAfter {
			continue
		}
		if !s.applied {
			out.Pending = append(out.Pending, key)
			continue
		}
		out.Applied = append(out.Applied, key)
		out.Took = max(out.Took, s.took)
		if s.suspect {
			out.Suspects = append(out.Suspects, key)
		}
		switch s.last.Mode {
		case "observe":
			out.Observing = append(out.Observing, key)
		case "off":
			out.Off = append(out.Off, key)
		}
	}
	for _, list := range [][]string{out.Applied, out.Pending, out.Observing, out.Off, out.Suspects} {
		slices.Sort(list)
	}
	return out
}
