package window

import (
	"cmp"
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
	topInAll     = 256
	topByPackets = 50
	topByPassed  = 50
	topByMeasure = 16
	targetsInAll = 192
	targetsFirst = 64
	targetsOther = 8 // per class
)

// interfaceSum is what a whole interface has received in one span.
type interfaceSum struct {
	counts           counts.Counters
	nonIP, malformed uint64
	covered          time.Duration
}

// move changes the share with which a window is in the sum.
func (s *interfaceSum) move(totals *counts.Counters, duration time.Duration, from, to float64) {
	if from == to {
		return
	}
	shift(&s.counts, totals, from, to)
	s.covered += time.Duration(float64(duration)*to) - time.Duration(float64(duration)*from)
}

// moveFrames does the same for frames that are not in the counts.
func (s *interfaceSum) moveFrames(nonIP, malformed uint64, from, to float64) {
	s.nonIP += part(nonIP, to) - part(nonIP, from)
	s.malformed += part(malformed, to) - part(malformed, from)
}

func toCounts(c *counts.Counters) rates.Counts {
	return rates.Counts{Packets: c.Packets, Bytes: c.Bytes, ByClass: c.ByClass, UDPBytes: c.UDPBytes, Dropped: c.Dropped}
}

// Bounds of what is remembered of one window, and with it the memory of an
// interface: at 250 ms 40 windows × (512 × 112 B + as many rows of 240 B), some
// 8 MB, and only in a flood whose sources never come back.
const (
	sourcesKept = 512
	targetsKept = 256
)

// keep returns the sources of a window that are worth remembering: the heaviest
// by packets, by bytes and by each class.
func keep(all []counts.Source) []counts.Source {
	if len(all) <= sourcesKept {
		return all
	}
	type ranks = ranking[counts.Source]
	first := []*ranks{
		{places: sourcesKept / 4, weight: func(s *counts.Source) uint64 { return s.Packets }},
		{places: sourcesKept / 4, weight: func(s *counts.Source) uint64 { return passed(&s.Counters) }},
	}
	others := []*ranks{{places: sourcesKept / 8, weight: func(s *counts.Source) uint64 { return s.Bytes }}}
	var totals counts.Counters
	for i := range all {
		totals.Add(all[i].Counters)
	}
	for c := range schemas.NumClasses {
		if totals.ByClass[c] > 0 {
			others = append(others, &ranks{places: sourcesKept / 8, weight: func(s *counts.Source) uint64 { return s.ByClass[c] }})
		}
	}
	out := make([]counts.Source, 0, sourcesKept)
	for _, i := range choose(all, func(*counts.Source) bool { return false }, sourcesKept, first, others) {
		out = append(out, all[i])
	}
	return out
}

// top returns the heaviest sources by packets, by packets that passed, by bytes
// and by each class, over both spans. Those that are dropped already must not
// hide those that are not: beside the ranking by packets there is one by what
// passes, and over 1 s a class counts only sources that mostly pass.
func (s *State) top(one, ten *counts.Counters, seconds float64) []rates.Source {
	chosen := s.sources.everything(topByPackets)
	if chosen == nil {
		chosen = s.chooseSources(one, ten)
	}
	rows := s.sources.rows
	slices.SortFunc(chosen, func(i, j int32) int {
		a, b := &rows[i], &rows[j]
		return cmp.Or(cmp.Compare(b.short.Packets, a.short.Packets), cmp.Compare(b.long.Packets, a.long.Packets), a.key.Compare(b.key))
	})
	out := make([]rates.Source, len(chosen))
	for i, slot := range chosen {
		r, x := &rows[slot], &out[i]
		x.Source, x.PortPairs = r.key, uint32(bits.OnesCount64(r.shortBits))
		x.Window1s, x.Window10s = toCounts(&r.short), toCounts(&r.long)
		if seconds > 0 {
			x.PPS, x.BPS = float64(r.short.Packets)/seconds, float64(r.short.Bytes)*8/seconds
		}
	}
	return out
}

// chooseSources ranks.
func (s *State) chooseSources(one, ten *counts.Counters) []int32 {
	type source = row[netip.Addr]
	type ranks = ranking[source]
	first := []*ranks{
		{places: topByPackets, weight: func(r *source) uint64 { return r.short.Packets }},
		{places: topByPassed, weight: func(r *source) uint64 { return passed(&r.short) }},
	}
	others := []*ranks{
		{places: topByMeasure, weight: func(r *source) uint64 { return r.short.Bytes }},
		{places: topByMeasure, weight: func(r *source) uint64 { return r.long.Packets }},
		{places: topByMeasure, weight: func(r *source) uint64 { return r.long.Bytes }},
	}
	for c := range schemas.NumClasses {
		if one.ByClass[c] > 0 {
			others = append(others, &ranks{places: topByMeasure, weight: func(r *source) uint64 {
				if r.short.Dropped > r.short.Packets/2 {
					return 0
				}
				return r.short.ByClass[c]
			}})
		}
		if ten.ByClass[c] > 0 {
			others = append(others, &ranks{places: topByMeasure, weight: func(r *source) uint64 { return r.long.ByClass[c] }})
		}
	}
	return choose(s.sources.rows, (*source).free, topInAll, first, others)
}

// target is the scope of a signature.
type target struct {
	destination netip.Addr
	class       schemas.Class
	protocol    uint8
	port        uint16
}

// keepTargets returns the heaviest targets of a window, if it has more than a
// probe of ours would name.
func keepTargets(all []counts.Target) []counts.Target {
	if len(all) <= targetsKept {
		return all
	}
	all = slices.Clone(all)
	slices.SortStableFunc(all, func(a, b counts.Target) int { return cmp.Compare(b.Packets, a.Packets) })
	return all[:targetsKept]
}

// heaviestTargets returns the heaviest of a ledger and those of each class.
func heaviestTargets(l *ledger[target]) []rates.Target {
	chosen := l.everything(targetsFirst)
	if chosen == nil {
		chosen = chooseTargets(l)
	}
	out := make([]rates.Target, 0, len(chosen))
	for _, slot := range chosen {
		r := &l.rows[slot]
		out = append(out, rates.Target{
			Destination: r.key.destination, Class: r.key.class, Protocol: r.key.protocol, Port: r.key.port,
			Packets1s: r.short.Packets, Packets10s: r.long.Packets, Bytes1s: r.short.Bytes, Dropped1s: r.short.Dropped,
			Sources1s: linear(r.shortBits), Sources10s: linear(r.longBits),
		})
	}
	slices.SortFunc(out, func(a, b rates.Target) int {
		return cmp.Or(cmp.Compare(b.Packets1s, a.Packets1s), cmp.Compare(b.Packets10s, a.Packets10s),
			a.Destination.Compare(b.Destination), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out
}

// chooseTargets ranks.
func chooseTargets(l *ledger[target]) []int32 {
	type ranks = ranking[row[target]]
	first := []*ranks{{places: targetsFirst, weight: func(r *row[target]) uint64 { return r.short.Packets }}}
	others := []*ranks{{places: targetsOther, weight: func(r *row[target]) uint64 { return r.long.Packets }}}
	for c := range schemas.Class(schemas.NumClasses) {
		of := func(r *row[target], n uint64) uint64 {
			if r.key.class != c {
				return 0
			}
			return n
		}
		others = append(others,
			&ranks{places: targetsOther, weight: func(r *row[target]) uint64 { return of(r, r.short.Packets) }},
			&ranks{places: targetsOther, weight: func(r *row[target]) uint64 { return of(r, r.long.Packets) }})
	}
	return choose(l.rows, (*row[target]).free, targetsInAll, first, others)
}
