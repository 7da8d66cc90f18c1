package why

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/services/internal/detect/attacks"
)

// Window is what one window of counts holds of the packets that a lease takes.
type Window struct {
	Seq      uint64            `json:"seq"`
	Offset   int64             `json:"offset"`
	Start    time.Time         `json:"start"`
	End      time.Time         `json:"end"`
	Packets  uint64            `json:"packets"`
	Bytes    uint64            `json:"bytes"`
	Dropped  uint64            `json:"dropped"`
	Classes  map[string]uint64 `json:"classes"`
	Duration time.Duration     `json:"-"`
}

// Trace leads from a decision to the counts record that caused it.
type Trace struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Interface string `json:"interface"`
	BootID    string `json:"boot_id"`
	Seq       uint64 `json:"seq"`
	// Retained says whether the record was found, and is the one that the
	// decision names; if not, Problem says why.
	Retained bool   `json:"retained"`
	Problem  string `json:"problem,omitempty"`
	// Record is the window that the decision names. Windows are all those that
	// the rule's window reaches back to, oldest first, and Sum adds them up.
	Record  *Window  `json:"record,omitempty"`
	Windows []Window `json:"windows,omitempty"`
	Sum     *Window  `json:"sum,omitempty"`
}

// NewTrace returns what evidence names, nothing read yet. countsTopic is used
// where the evidence names no topic.
func NewTrace(e *commands.Evidence, countsTopic string) *Trace {
	t := &Trace{Topic: e.Topic, Partition: e.Partition, Offset: e.Offset, Interface: e.Interface, BootID: e.BootID, Seq: e.Seq}
	if t.Topic == "" {
		t.Topic = countsTopic
	}
	return t
}

// Fits says why the record found cannot be the one that the decision names, or
// nothing.
func (t *Trace) Fits(r *kgo.Record) string {
	c, err := counts.Decode(r.Value)
	switch {
	case err != nil:
		return "the record there cannot be read: " + err.Error()
	case c.Key() != t.Interface || c.BootID != t.BootID || c.Seq != t.Seq:
		return fmt.Sprintf("the record there is window %d of %s: the topic was made anew since", c.Seq, c.Key())
	}
	t.Retained = true
	return ""
}

// slack is how much later than its window a record may come, and how much longer
// than it should a window may last.
const slack = 5 * time.Second

// span is the rule's window.
func span(e *commands.Evidence) time.Duration {
	d, err := time.ParseDuration(e.Window)
	if err != nil || d < 0 {
		return 0
	}
	return min(d, time.Minute)
}

// Reach is how long before the record the oldest one may lie that the rule's
// window reaches back to.
func (t *Trace) Reach(e *commands.Evidence) time.Duration { return span(e) + slack }

// Take adds a record of the counts topic to the trace if it belongs to it: an
// earlier window of the interface, or the one that the decision names. Records
// come in the order of the log.
func (t *Trace) Take(m *commands.Match, r *kgo.Record) {
	if string(r.Key) != t.Interface {
		return
	}
	c, err := counts.Decode(r.Value)
	if err != nil || c.BootID != t.BootID || c.Seq > t.Seq {
		return
	}
	w := Measure(m, &c, r.Offset)
	if n := len(t.Windows); n > 0 && t.Windows[n-1].Seq == w.Seq {
		t.Windows[n-1].add(&w) // another chunk of the window
		return
	}
	t.Windows = append(t.Windows, w)
}

// Close leaves the windows that the rule's window reaches back to, and adds them
// up.
func (t *Trace) Close(e *commands.Evidence) {
	var reached time.Duration
	first := len(t.Windows)
	for first > 0 && (first == len(t.Windows) || reached < span(e)) {
		first--
		reached += t.Windows[first].Duration
	}
	t.Windows = t.Windows[first:]
	if len(t.Windows) == 0 {
		return
	}
	t.Record = &t.Windows[len(t.Windows)-1]
	t.Sum = &Window{Start: t.Windows[0].Start, Classes: map[string]uint64{}}
	for i := range t.Windows {
		t.Sum.add(&t.Windows[i])
		t.Sum.Duration += t.Windows[i].Duration
	}
}

// add adds what o counts.
func (w *Window) add(o *Window) {
	w.Seq, w.Offset, w.End = o.Seq, max(w.Offset, o.Offset), o.End
	w.Packets += o.Packets
	w.Bytes += o.Bytes
	w.Dropped += o.Dropped
	for class, n := range o.Classes {
		w.Classes[class] += n
	}
}

// Measure returns what a window of counts holds of the packets that m takes.
// Flags other than those of a connection's first packets are not counted
// separately, so a match on them is measured as its protocol.
func Measure(m *commands.Match, r *counts.Record, offset int64) Window {
	w := Window{Seq: r.Seq, Offset: offset, Start: r.WindowStart.UTC(), End: r.WindowEnd.UTC(), Duration: r.Duration, Classes: map[string]uint64{}}
	if !m.Source.IsValid() {
		w.addVictims(m, r)
		return w
	}
	for i := range r.Sources {
		s := &r.Sources[i]
		if !m.Source.Contains(s.Address) {
			continue
		}
		w.Packets += s.Packets
		w.Bytes += s.Bytes
		w.Dropped += s.Dropped
		for class, n := range s.ByClass {
			if n > 0 {
				w.Classes[schemas.ClassNames[class]] += n
			}
		}
	}
	return w
}

func (w *Window) addVictims(m *commands.Match, r *counts.Record) {
	if r.Totals == nil {
		return
	}
	for i := range r.Totals.Victims {
		v := &r.Totals.Victims[i]
		if !m.Destination.Contains(v.Destination) || !attacks.Signs(m, v.Class, v.Protocol, v.Port) {
			continue
		}
		w.Packets += v.Packets
		w.Bytes += v.Bytes
		w.Dropped += v.Dropped
		w.Classes[schemas.ClassNames[v.Class]] += v.Packets
	}
}
