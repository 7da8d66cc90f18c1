package eval

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas/counts"
)

// threshold is what people do without Weir: a source that sends so many packets
// in a second is dropped from then on. It is computed from the counts of the very
// runs in which Weir is measured, and to its favour: it acts at the end of the
// window that crosses it, with no delay of drain, broker or decision.
type threshold struct {
	name    string
	packets uint64 // in any second; 0: never
	blocked map[netip.Addr]time.Time
	dropped map[netip.Addr]uint64

	seq    uint64
	open   slice   // the window whose chunks are arriving
	recent []slice // windows that reach into the last second, oldest first
}

// slice is one window: packets by source.
type slice struct {
	end     time.Time
	packets map[netip.Addr]uint64
}

// thresholds returns those that are printed beside Weir, and none at all.
func thresholds() []*threshold {
	var out []*threshold
	for _, x := range []struct {
		name    string
		packets uint64
	}{{"100 pps", 100}, {"1,000 pps", 1000}, {"5,000 pps", 5000}, {"no policy", 0}} {
		out = append(out, &threshold{name: x.name, packets: x.packets,
			blocked: make(map[netip.Addr]time.Time), dropped: make(map[netip.Addr]uint64)})
	}
	return out
}

// chunk takes one record of the counts topic; those of one window follow one
// another.
func (t *threshold) chunk(r *counts.Record) {
	if r.Seq != t.seq || t.open.packets == nil {
		t.close()
		t.seq, t.open = r.Seq, slice{end: r.WindowEnd, packets: make(map[netip.Addr]uint64)}
	}
	for i := range r.Sources {
		s := &r.Sources[i]
		t.open.packets[s.Address] += s.Packets
		if _, ok := t.blocked[s.Address]; ok {
			t.dropped[s.Address] += s.Packets
		}
	}
}

// close ends the window: sources that crossed the threshold with it are dropped
// in the next one.
func (t *threshold) close() {
	if t.open.packets == nil || t.packets == 0 {
		return
	}
	t.recent = slices.DeleteFunc(t.recent, func(s slice) bool { return t.open.end.Sub(s.end) >= time.Second-time.Millisecond })
	t.recent = append(t.recent, t.open)
	for source := range t.open.packets {
		sum := uint64(0)
		for _, s := range t.recent {
			sum += s.packets[source]
		}
		if _, ok := t.blocked[source]; !ok && sum >= t.packets {
			t.blocked[source] = t.open.end
		}
	}
}

// snapshot is what it has dropped so far.
func (t *threshold) snapshot() map[netip.Addr]uint64 { return maps.Clone(t.dropped) }
