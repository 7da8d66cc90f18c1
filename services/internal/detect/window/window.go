// Package window turns the windows that probes count into rates: sliding
// figures over 1 s and 10 s, the heaviest sources, victims and ports. It is a
// pure function of the records, which identify themselves: what has been seen
// is ignored, what is missing is declared.
package window

import (
	"math"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/rates"
)

// Spans of the sliding windows.
const (
	short = time.Second
	long  = 10 * time.Second
)

// Result says what became of a record.
type Result uint8

// The results.
const (
	Ignored   Result = iota // a tail chunk: nothing of it is in the table
	Updated                 // the table's record has changed
	Duplicate               // seen before
	Late                    // of an earlier life of the probe
)

// maxSamples bounds the windows that are remembered, however short they are.
const maxSamples = 256

// sample is one window, placed on the interface's own timeline. What it counted is
// in the State's queues; all that is here is where.
type sample struct {
	end       time.Duration
	duration  time.Duration
	in        shares // the shares with which it is in the sums
	lines     int    // position of its first packed byte
	registers int    // positions of its first of each
	targets   int
	pairs     int
	dense     *[sketches][]byte // sketches of which too many registers are set; nil: none
}

// seen is a bitmap that one source or target had in one window. Bitmaps cannot be
// taken out of a sum, so they are joined again each time.
type seen struct {
	slot int32
	port bool // of ports, else of victims; says nothing of sources
	bits uint64
}

// State is what is remembered of one interface. The zero value knows nothing;
// Resume continues from the table.
type State struct {
	record rates.Record // the last published
	// clock is the end of the last window on a timeline that adds up durations,
	// which come from a monotonic clock. Wall clocks are set back and forth.
	clock   time.Duration
	samples queue[sample] // those that reach into the last 10 s
	// What the samples counted: totals and lines, registers of sketches, the sources of
	// targets, and, only of those in the last second, the port pairs of sources.
	lines     queue[byte]
	registers queue[register]
	targets   queue[seen]
	pairs     queue[seen]

	short, long    interfaceSum // what the samples add up to
	sources        ledger[netip.Addr]
	victims, ports ledger[target]
	chunks         map[uint32]bool
	want           uint32 // chunks of the current window
	whole          bool   // all chunks of the window before have arrived
}

// Resume returns the state that continues from a record of the table: what it
// says of identity and losses stays, the sliding windows begin anew. The record
// was made from chunk 0; whether the others of its window have been seen is not
// known, so that each may come once.
func Resume(r *rates.Record) *State {
	s := &State{record: *r, whole: true, chunks: map[uint32]bool{0: true}}
	s.record.Covered = 0
	return s
}

// Matches reports whether the state is the one that the table's record r came
// from. If not, somebody else has processed the interface since.
func (s *State) Matches(r *rates.Record) bool {
	return s.record.BootID == r.BootID && s.record.Seq == r.Seq
}

// Record returns the current record of the table.
func (s *State) Record() *rates.Record { return &s.record }

// Apply takes one record.
func (s *State) Apply(r *counts.Record) Result {
	boot, seq := s.record.BootID, s.record.Seq
	if result, ok := s.identify(r); !ok {
		return result
	}
	s.chunks[r.Chunk] = true
	if r.Totals == nil {
		return Ignored
	}
	s.push(r, r.BootID != boot || r.Seq != seq+1)
	s.compute(r)
	return Updated
}

// identify decides whether the record is new, and opens its window if it is the
// first of it.
func (s *State) identify(r *counts.Record) (Result, bool) {
	p := &s.record
	switch {
	case p.BootID == "":
	case r.BootID == p.BootID && r.Seq < p.Seq, r.BootID == p.BootID && r.Seq == p.Seq && s.chunks[r.Chunk]:
		p.Duplicates++
		return Duplicate, false
	case r.BootID == p.BootID && r.Seq == p.Seq:
		return Ignored, true
	case r.BootID != p.BootID && r.WindowStart.Before(p.End.Add(-time.Second)) && !p.Stale:
		return Late, false
	}
	if r.Totals == nil {
		return Ignored, false // its chunk 0 is lost, or yet to come
	}
	switch {
	case r.BootID == p.BootID:
		p.LostWindows += r.Seq - p.Seq - 1
	case p.BootID != "":
		p.LostWindows = r.Seq - 1 // of the probe's new life, before the first one seen
	default:
		p.LostWindows = 0 // an interface that was not known: nothing is known to be missing
	}
	s.whole = s.want == 0 || uint32(len(s.chunks)) == s.want
	if clear(s.chunks); s.chunks == nil || s.want > 1 {
		s.chunks = map[uint32]bool{} // one that was large stays so
	}
	s.want = r.Chunks
	p.BootID, p.Seq = r.BootID, r.Seq
	return Ignored, true
}

// push places the window on the timeline: right behind the one before, or, where
// windows are missing, as far behind as the wall clock says, if it says so. No
// step is longer than what is remembered, whatever a record claims.
func (s *State) push(r *counts.Record, gap bool) {
	if away := r.WindowStart.Sub(s.record.End); gap && away > 0 && len(s.samples.live()) > 0 {
		s.clock += min(away, long)
	}
	s.clock += min(r.Duration, long)
	s.drop()
	s.enter(r)
	all := s.samples.live()
	for i := range all {
		w := &all[i]
		s.move(w, shares{w.share(s.clock, short), w.share(s.clock, long)}, false)
	}
	if recent := s.recent(); recent < len(all) {
		s.pairs.dropTo(all[recent].pairs)
	}
	s.renumber(s.sources.shrink())
}

// share is the part of a window that lies within span before end: a window that
// was held open through an outage must not show as a spike.
func (w *sample) share(end, span time.Duration) float64 {
	inside := w.end - (end - span)
	switch {
	case inside <= 0:
		return 0
	case inside >= w.duration:
		return 1
	}
	return float64(inside) / float64(w.duration)
}

// ewmaConstant is the time in which the average follows a step by 63 %.
const ewmaConstant = 10 * time.Second

func (s *State) compute(r *counts.Record) {
	p := &s.record
	p.Host, p.Interface = r.Host, r.Interface
	p.End, p.Start = r.WindowEnd, r.WindowEnd.Add(-short)
	p.Stale = false
	p.Truncated = r.Truncated
	p.Complete = s.whole && r.Totals.TailSources == 0 && !r.Truncated
	one, ten := &s.short, &s.long
	p.Covered = min(long, ten.covered.Round(time.Millisecond))
	p.Window1s, p.Window10s = toCounts(&one.counts), toCounts(&ten.counts)
	p.NonIP1s, p.Malformed1s = one.nonIP, one.malformed
	seconds := one.covered.Seconds()
	if seconds > 0 {
		p.PPS = float64(one.counts.Packets) / seconds
		p.BPS = float64(one.counts.Bytes) * 8 / seconds
		p.DroppedPPS = float64(one.counts.Dropped) / seconds
	}
	now := float64(r.Totals.Packets) / r.Duration.Seconds()
	p.PPSEWMA += (now - p.PPSEWMA) * (1 - math.Exp(-r.Duration.Seconds()/ewmaConstant.Seconds()))
	s.estimate()
	s.gather()
	p.Top = s.top(&one.counts, &ten.counts, seconds)
	p.Victims, p.Ports = heaviestTargets(&s.victims), heaviestTargets(&s.ports)
}
