package engine

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
)

// tick is how often the probe drains.
const tick = 250 * time.Millisecond

// most is where the aggregator's estimate of a victim's sources ends.
const most = 266

type victimKey struct {
	destination netip.Addr
	class       schemas.Class
	protocol    uint8
	port        uint16
}

// window is one drained window of a reference aggregator: exact sets instead of
// sketches.
type window struct {
	sources map[netip.Addr]*rates.Counts
	pairs   map[netip.Addr]uint64
	victims map[victimKey]map[netip.Addr]uint64
}

func newWindow() *window {
	return &window{sources: map[netip.Addr]*rates.Counts{}, pairs: map[netip.Addr]uint64{}, victims: map[victimKey]map[netip.Addr]uint64{}}
}

func plus(c, d *rates.Counts) {
	c.Packets += d.Packets
	c.Bytes += d.Bytes
	c.UDPBytes += d.UDPBytes
	for i, n := range d.ByClass {
		c.ByClass[i] += n
	}
}

var pairSeed = maphash.MakeSeed()

func (w *window) add(f *frame) {
	c := w.sources[f.source]
	if c == nil {
		c = new(rates.Counts)
		w.sources[f.source] = c
	}
	one := rates.Counts{Packets: 1, Bytes: f.length}
	one.ByClass[f.class] = 1
	if f.class == schemas.ClassUDP {
		one.UDPBytes = f.length
	}
	plus(c, &one)
	if !f.firstOfTransport {
		return
	}
	w.pairs[f.source] |= 1 << (maphash.Comparable(pairSeed, [2]uint16{f.sport, f.dport}) & 63)
	k := victimKey{f.victim, f.class, f.protocol, f.sport}
	switch f.class {
	case schemas.ClassSYN:
		k.port = f.dport
	case schemas.ClassSYNACK, schemas.ClassUDP:
	default:
		return
	}
	if w.victims[k] == nil {
		w.victims[k] = map[netip.Addr]uint64{}
	}
	w.victims[k][f.source]++
}

// reference is an aggregator by brute force: forty windows, added up anew for
// every record.
type reference struct {
	windows []*window // oldest first, at most 40
	seq     uint64
}

func (r *reference) push(w *window) {
	r.windows = append(r.windows, w)
	r.windows = r.windows[max(0, len(r.windows)-int(10*time.Second/tick)):]
	r.seq++
}

func (r *reference) empty() bool {
	return !slices.ContainsFunc(r.windows, func(w *window) bool { return len(w.sources) > 0 })
}

func (r *reference) record(end time.Time) *rates.Record {
	out := &rates.Record{Host: "h", Interface: "eth0", BootID: "b", Seq: r.seq, Start: end.Add(-time.Second), End: end,
		Covered: time.Duration(len(r.windows)) * tick, Complete: true}
	all := map[netip.Addr]*rates.Source{}
	pairs := map[netip.Addr]uint64{}
	short := len(r.windows) - int(time.Second/tick)
	for i, w := range r.windows {
		for a, c := range w.sources {
			s := all[a]
			if s == nil {
				s = &rates.Source{Source: a}
				all[a] = s
			}
			plus(&s.Window10s, c)
			plus(&out.Window10s, c)
			if i >= short {
				plus(&s.Window1s, c)
				plus(&out.Window1s, c)
				pairs[a] |= w.pairs[a]
			}
		}
	}
	for a, s := range all {
		s.PortPairs = uint32(bits.OnesCount64(pairs[a]))
		tally := func(c *rates.Counts, any, syn, synack *uint64) {
			*any += min(1, c.Packets)
			*syn += min(1, c.ByClass[schemas.ClassSYN])
			*synack += min(1, c.ByClass[schemas.ClassSYNACK])
		}
		tally(&s.Window1s, &out.Sources1s, &out.SYNSources1s, &out.SYNACKSources1s)
		tally(&s.Window10s, &out.Sources10s, &out.SYNSources10s, &out.SYNACKSources10s)
	}
	out.Top = topOf(all)
	out.Victims = r.victims(short)
	return out
}

// topOf chooses as the contract says: by packets, bytes and each class, over
// both windows.
func topOf(all map[netip.Addr]*rates.Source) []rates.Source {
	list := make([]*rates.Source, 0, len(all))
	for _, s := range all {
		list = append(list, s)
	}
	chosen := map[*rates.Source]bool{}
	pick := func(n int, weight func(*rates.Source) uint64) {
		slices.SortFunc(list, func(a, b *rates.Source) int {
			return cmp.Or(cmp.Compare(weight(b), weight(a)), a.Source.Compare(b.Source))
		})
		for _, s := range list[:min(n, len(list))] {
			if weight(s) > 0 && len(chosen) < 256 {
				chosen[s] = true
			}
		}
	}
	pick(50, func(s *rates.Source) uint64 { return s.Window1s.Packets })
	pick(16, func(s *rates.Source) uint64 { return s.Window1s.Bytes })
	for c := range schemas.NumClasses {
		pick(16, func(s *rates.Source) uint64 { return s.Window1s.ByClass[c] })
		pick(16, func(s *rates.Source) uint64 { return s.Window10s.ByClass[c] })
	}
	var out []rates.Source
	for s := range chosen {
		out = append(out, *s)
	}
	return out
}

func (r *reference) victims(short int) []rates.Target {
	type seen struct{ one, ten map[netip.Addr]bool }
	targets, sources := map[victimKey]*rates.Target{}, map[victimKey]seen{}
	for i, w := range r.windows {
		for k, from := range w.victims {
			t := targets[k]
			if t == nil {
				t = &rates.Target{Destination: k.destination, Class: k.class, Protocol: k.protocol, Port: k.port}
				targets[k], sources[k] = t, seen{map[netip.Addr]bool{}, map[netip.Addr]bool{}}
			}
			for a, n := range from {
				t.Packets10s += n
				sources[k].ten[a] = true
				if i >= short {
					t.Packets1s += n
					sources[k].one[a] = true
				}
			}
		}
	}
	out := make([]rates.Target, 0, len(targets))
	for k, t := range targets {
		t.Sources1s, t.Sources10s = min(most, uint64(len(sources[k].one))), min(most, uint64(len(sources[k].ten)))
		out = append(out, *t)
	}
	slices.SortFunc(out, func(a, b rates.Target) int { return cmp.Compare(b.Packets1s, a.Packets1s) })
	return out[:min(len(out), 64)]
}
