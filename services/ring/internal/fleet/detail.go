package fleet

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/ring/internal/history"
)

// Detail is what one interface's last record says of single sources.
type Detail struct {
	Seq     uint64
	Sources []rates.Source // the heaviest by packets over 1 s first
	// Destinations are sums over classes and ports, of which only the destination
	// and what is counted are set; Sources1s is that of the heaviest of them, since
	// nobody knows how many are the same.
	Destinations []rates.Target
	Ports        []rates.Target
}

// Detail decodes the sources of i, once per record. They are sorted by packets
// per second over 1 s, then over 10 s, then by address, so that a list does not
// jump about. A value that no longer decodes has none.
func (i *Interface) Detail() *Detail {
	if i.detail != nil {
		return i.detail
	}
	d := &Detail{Seq: i.Rates.Seq}
	if r, err := rates.Decode(i.value); err == nil {
		d.Sources, d.Destinations, d.Ports = r.Top, destinations(r.Victims), r.Ports
	}
	slices.SortFunc(d.Sources, func(a, b rates.Source) int {
		switch {
		case a.PPS != b.PPS:
			return sign(b.PPS - a.PPS)
		case a.Window10s.Packets != b.Window10s.Packets:
			return sign(float64(b.Window10s.Packets) - float64(a.Window10s.Packets))
		}
		return a.Source.Compare(b.Source)
	})
	slices.SortFunc(d.Ports, func(a, b rates.Target) int {
		return cmp.Or(cmp.Compare(b.Packets1s, a.Packets1s), cmp.Compare(a.Port, b.Port))
	})
	i.detail = d
	return d
}

// destinations adds up what goes to each address, the heaviest first.
func destinations(victims []rates.Target) []rates.Target {
	var out []rates.Target
	at := make(map[netip.Addr]int)
	for _, v := range victims {
		n, ok := at[v.Destination]
		if !ok {
			n = len(out)
			at[v.Destination] = n
			out = append(out, rates.Target{Destination: v.Destination})
		}
		d := &out[n]
		d.Packets1s += v.Packets1s
		d.Packets10s += v.Packets10s
		d.Bytes1s += v.Bytes1s
		d.Dropped1s += v.Dropped1s
		d.Sources1s = max(d.Sources1s, v.Sources1s)
		d.Sources10s = max(d.Sources10s, v.Sources10s)
	}
	slices.SortFunc(out, func(a, b rates.Target) int {
		return cmp.Or(cmp.Compare(b.Packets1s, a.Packets1s), a.Destination.Compare(b.Destination))
	})
	return out
}

func sign(d float64) int {
	switch {
	case d < 0:
		return -1
	case d > 0:
		return 1
	}
	return 0
}

// The history of single sources: a point every SourceStep for 15 minutes, of at
// most sourceLimit sources per interface.
const (
	SourceStep  = 10 * time.Second
	SourceSlots = int(15 * time.Minute / SourceStep)
	sourceLimit = 64
)

// minBaseline is how many seconds must have been seen before an interface has a
// baseline. It is the median of the last 15 minutes: an attack moves it only
// after half of that, where a mean would call the attack usual within seconds.
const minBaseline = 60

// SourcePoint is what one source sent within SourceStep, per second, in 24 bytes.
type SourcePoint struct {
	At                   uint32 // Unix seconds
	PPS, BPS, DroppedPPS float32
	shares               [schemas.NumClasses]uint8 // of 255
}

// ClassPPS returns the packets per second of one class, to 0.4 % of all.
func (p *SourcePoint) ClassPPS(class int) float32 { return p.PPS * float32(p.shares[class]) / 255 }

// sourceHistories holds the points of the sources seen lately.
type sourceHistories struct {
	byAddr map[netip.Addr]*sourceHistory
}

type sourceHistory struct {
	points []SourcePoint // oldest first
	last   int64
}

// Sweep notes the sources of part of the fleet: call it n times within
// SourceStep to see each interface once.
func (f *Fleet) Sweep(now time.Time, n int) {
	if len(f.order) == 0 {
		return
	}
	for range (len(f.order) + n - 1) / n {
		f.next = (f.next + 1) % len(f.order)
		f.order[f.next].noteSources(now)
		f.order[f.next].baseline = f.order[f.next].history.Median(history.PPS, minBaseline)
	}
}

// noteSources adds a point from the 10 s window: nothing falls between two
// points, although only one record in forty is looked at.
func (i *Interface) noteSources(now time.Time) {
	h := &i.sources
	oldest := now.Add(-15 * time.Minute).Unix()
	for a, s := range h.byAddr {
		if s.last < oldest {
			delete(h.byAddr, a)
		}
	}
	if i.RatesAt.IsZero() || now.Sub(i.RatesAt) > SourceStep {
		return
	}
	second := now.Unix()
	seconds := max(1, min(SourceStep.Seconds(), i.Rates.Covered))
	for _, s := range i.Detail().Sources {
		sh := h.byAddr[s.Source]
		if sh == nil {
			if len(h.byAddr) >= sourceLimit {
				continue
			}
			if h.byAddr == nil {
				h.byAddr = make(map[netip.Addr]*sourceHistory)
			}
			sh = &sourceHistory{}
			h.byAddr[s.Source] = sh
		}
		if second-sh.last < int64(SourceStep.Seconds()) && sh.last != 0 {
			continue
		}
		sh.last = second
		w := s.Window10s
		p := SourcePoint{
			At: uint32(second), PPS: float32(float64(w.Packets) / seconds),
			BPS: float32(8 * float64(w.Bytes) / seconds), DroppedPPS: float32(float64(w.Dropped) / seconds),
		}
		for c, n := range w.ByClass {
			p.shares[c] = uint8(math.Round(255 * float64(min(n, w.Packets)) / float64(max(1, w.Packets))))
		}
		sh.points = append(sh.points, p)
		if len(sh.points) > SourceSlots {
			sh.points = slices.Delete(sh.points, 0, len(sh.points)-SourceSlots)
		}
	}
}

// SourceHistory returns the points of one source, oldest first.
func (i *Interface) SourceHistory(a netip.Addr) []SourcePoint {
	if s := i.sources.byAddr[a]; s != nil {
		return slices.Clone(s.points)
	}
	return nil
}
