package window

import (
	"cmp"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/rates"
)

// Bounds of a table record.
const (
	topByPackets = 50
	topInAll     = 256
	topByClass   = 16
	targetsKept  = 64
)

// sum adds up counters, of which a window at the edge gives only its share.
type sum struct {
	packets, bytes, udpBytes, dropped float64
	byClass                           [schemas.NumClasses]float64
}

func (s *sum) add(c *counts.Counters, share float64) {
	s.packets += float64(c.Packets) * share
	s.bytes += float64(c.Bytes) * share
	s.udpBytes += float64(c.UDPBytes) * share
	s.dropped += float64(c.Dropped) * share
	for i, n := range c.ByClass {
		s.byClass[i] += float64(n) * share
	}
}

// round gives whole packets; the total is that of the classes, so that they
// still add up.
func (s *sum) round() rates.Counts {
	c := rates.Counts{
		Bytes: uint64(math.Round(s.bytes)), UDPBytes: uint64(math.Round(s.udpBytes)), Dropped: uint64(math.Round(s.dropped)),
	}
	for i, n := range s.byClass {
		c.ByClass[i] = uint64(math.Round(n))
		c.Packets += c.ByClass[i]
	}
	return c
}

// interfaceSum adds up a whole interface.
type interfaceSum struct {
	counts           sum
	nonIP, malformed float64
	covered          time.Duration
	all, syn, synack []byte
}

func (s *interfaceSum) add(w *sample, share float64) {
	if share == 0 {
		return
	}
	s.counts.add(&w.totals.Counters, share)
	s.nonIP += float64(w.totals.NonIP) * share
	s.malformed += float64(w.totals.Malformed) * share
	s.covered += time.Duration(float64(w.duration) * share)
	s.all = union(s.all, w.totals.SourcesSketch)
	s.syn = union(s.syn, w.totals.SYNSourcesSketch)
	s.synack = union(s.synack, w.totals.SYNACKSourcesSketch)
}

// keep returns the sources of a window that are worth remembering: the heaviest
// by packets, by bytes and by each class.
func keep(all []counts.Source) []counts.Source {
	if len(all) <= sourcesKept {
		return all
	}
	chosen := make([]bool, len(all))
	order := make([]int, len(all))
	pick := func(n int, weight func(*counts.Source) uint64) {
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(weight(&all[b]), weight(&all[a])) })
		for _, i := range order[:n] {
			chosen[i] = chosen[i] || weight(&all[i]) > 0
		}
	}
	pick(sourcesKept/4, func(s *counts.Source) uint64 { return s.Packets })
	pick(sourcesKept/4, func(s *counts.Source) uint64 { return s.Bytes })
	for c := range schemas.NumClasses {
		pick(sourcesKept/2/schemas.NumClasses, func(s *counts.Source) uint64 { return s.ByClass[c] })
	}
	out := make([]counts.Source, 0, sourcesKept)
	for i, is := range chosen {
		if is {
			out = append(out, all[i])
		}
	}
	return out
}

// tracked is one source over both windows.
type tracked struct {
	address  netip.Addr
	one, ten sum
	pairs    uint64
}

// top returns the heaviest sources by packets, by bytes and by each class, over
// both windows.
func top(samples []sample, end time.Duration, seconds float64) []rates.Source {
	index := map[netip.Addr]int{}
	var all []tracked
	for i := range samples {
		w := &samples[i]
		one, ten := w.share(end, short), w.share(end, long)
		for j := range w.sources {
			s := &w.sources[j]
			at, ok := index[s.Address]
			if !ok {
				at = len(all)
				index[s.Address] = at
				all = append(all, tracked{address: s.Address})
			}
			t := &all[at]
			t.ten.add(&s.Counters, ten)
			if one > 0 {
				t.one.add(&s.Counters, one)
				t.pairs |= s.PortPairs
			}
		}
	}
	chosen := map[int]bool{}
	pick := func(n int, weight func(*tracked) float64) {
		for _, i := range heaviest(all, n, weight) {
			if len(chosen) < topInAll {
				chosen[i] = true
			}
		}
	}
	pick(topByPackets, func(t *tracked) float64 { return t.one.packets })
	pick(topByClass, func(t *tracked) float64 { return t.one.bytes })
	for c := range schemas.NumClasses {
		pick(topByClass, func(t *tracked) float64 { return t.one.byClass[c] })
		pick(topByClass, func(t *tracked) float64 { return t.ten.byClass[c] })
	}
	pick(topByClass, func(t *tracked) float64 { return t.ten.packets })
	pick(topByClass, func(t *tracked) float64 { return t.ten.bytes })
	out := make([]rates.Source, 0, len(chosen))
	for i := range chosen {
		t := &all[i]
		s := rates.Source{Source: t.address, PortPairs: uint32(bits.OnesCount64(t.pairs)), Window1s: t.one.round(), Window10s: t.ten.round()}
		if seconds > 0 {
			s.PPS, s.BPS = t.one.packets/seconds, t.one.bytes*8/seconds
		}
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b rates.Source) int {
		return cmp.Or(cmp.Compare(b.PPS, a.PPS), cmp.Compare(b.Window10s.Packets, a.Window10s.Packets), a.Source.Compare(b.Source))
	})
	return out
}

// heaviest returns the positions of the n heaviest that weigh anything, heaviest
// first; of equal ones, the one with the lower address. It keeps the best n in
// order: most candidates fall at the first comparison.
func heaviest(all []tracked, n int, weight func(*tracked) float64) []int {
	best := make([]int, 0, n+1)
	before := func(a, b int) int {
		return cmp.Or(cmp.Compare(weight(&all[b]), weight(&all[a])), all[a].address.Compare(all[b].address))
	}
	for i := range all {
		if weight(&all[i]) <= 0 || len(best) == n && before(i, best[n-1]) >= 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, i, before)
		best = slices.Insert(best, at, i)
		best = best[:min(n, len(best))]
	}
	return best
}

// targets sums victims or ports over both windows and returns the heaviest.
func targets(samples []sample, end time.Duration, of func(*sample) []counts.Target) []rates.Target {
	type key struct {
		destination netip.Addr
		class       schemas.Class
		protocol    uint8
		port        uint16
	}
	type total struct {
		rates.Target
		packets1, packets10, bytes1, dropped1 float64
		bits1, bits10                         uint64
	}
	index := map[key]*total{}
	for i := range samples {
		w := &samples[i]
		one, ten := w.share(end, short), w.share(end, long)
		for _, t := range of(w) {
			k := key{t.Destination, t.Class, t.Protocol, t.Port}
			x := index[k]
			if x == nil {
				x = &total{Target: rates.Target{Destination: t.Destination, Class: t.Class, Protocol: t.Protocol, Port: t.Port}}
				index[k] = x
			}
			x.packets10 += float64(t.Packets) * ten
			x.bits10 |= t.SourceBits
			if one > 0 {
				x.packets1 += float64(t.Packets) * one
				x.bytes1 += float64(t.Bytes) * one
				x.dropped1 += float64(t.Dropped) * one
				x.bits1 |= t.SourceBits
			}
		}
	}
	out := make([]rates.Target, 0, len(index))
	for _, x := range index {
		x.Packets1s, x.Packets10s = uint64(math.Round(x.packets1)), uint64(math.Round(x.packets10))
		x.Bytes1s, x.Dropped1s = uint64(math.Round(x.bytes1)), uint64(math.Round(x.dropped1))
		x.Sources1s, x.Sources10s = linear(x.bits1), linear(x.bits10)
		out = append(out, x.Target)
	}
	slices.SortFunc(out, func(a, b rates.Target) int {
		return cmp.Or(cmp.Compare(b.Packets1s, a.Packets1s), cmp.Compare(b.Packets10s, a.Packets10s),
			a.Destination.Compare(b.Destination), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out[:min(len(out), targetsKept)]
}
