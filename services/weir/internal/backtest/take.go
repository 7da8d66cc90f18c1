package backtest

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/services/internal/detect/attacks"
)

// scope is the leases on one target.
type scope struct {
	leases []*lease
	index  *index
	ready  bool // leases are in order, and index is theirs
}

// prepare puts the leases into the order in which the filter asks them: source
// before signature, drop before limit.
func (sc *scope) prepare() {
	if sc.ready {
		return
	}
	slices.SortFunc(sc.leases, func(a, b *lease) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.command.Action.Strength(), a.command.Action.Strength()), cmp.Compare(a.key, b.key))
	})
	sc.index, sc.ready = indexOf(sc.leases), true
}

// rank is the stage of the filter that a lease is in.
func rank(l *lease) int {
	switch m := &l.command.Match; {
	case !m.Source.IsValid():
		return 2
	case !m.Source.IsSingleIP():
		return 1
	}
	return 0
}

// take adds to taken how many packets of the record each lease takes; a packet is
// taken by one lease on its source at most.
//
// Signatures are measured by what goes to their victim, whoever sends it: the
// counts do not say which sources a lease has dropped already, nor which ones
// were seen conversing and pass a limit. So theirs are upper bounds.
func (sc *scope) take(c *counts.Record, taken []uint64) {
	if len(sc.index.lengths4)+len(sc.index.lengths6) > 0 {
		for i := range c.Sources {
			s := &c.Sources[i]
			left := s.ByClass
			sc.index.each(s.Address, func(at int) {
				m := &sc.leases[at].command.Match
				for class, n := range left {
					if n > 0 && attacks.Takes(m, schemas.Class(class)) {
						taken[at] += n
						left[class] = 0
					}
				}
			})
		}
	}
	if c.Totals == nil {
		return
	}
	for i, l := range sc.leases {
		if l.command.Match.Source.IsValid() {
			continue
		}
		for j := range c.Totals.Victims {
			v := &c.Totals.Victims[j]
			if l.command.Match.Destination.Contains(v.Destination) && attacks.Signs(&l.command.Match, v.Class, v.Protocol, v.Port) {
				taken[i] += v.Packets
			}
		}
	}
}

// index finds the leases that name a source.
type index struct {
	byPrefix           map[netip.Prefix][]int // places in live
	lengths4, lengths6 []int                  // of prefixes, longest first
}

func indexOf(live []*lease) *index {
	x := &index{byPrefix: map[netip.Prefix][]int{}}
	var has4, has6 [129]bool
	for i, l := range live {
		p := l.command.Match.Source
		if !p.IsValid() {
			continue
		}
		x.byPrefix[p] = append(x.byPrefix[p], i)
		if p.Addr().Is4() {
			has4[p.Bits()] = true
		} else {
			has6[p.Bits()] = true
		}
	}
	for bits := 128; bits >= 0; bits-- {
		if has4[bits] {
			x.lengths4 = append(x.lengths4, bits)
		}
		if has6[bits] {
			x.lengths6 = append(x.lengths6, bits)
		}
	}
	return x
}

// each calls f with the places of the leases that name a source, the filter's
// order first.
func (x *index) each(source netip.Addr, f func(at int)) {
	lengths := x.lengths6
	if source.Is4() {
		lengths = x.lengths4
	}
	for _, bits := range lengths {
		p, err := source.Prefix(bits)
		if err != nil {
			continue
		}
		for _, at := range x.byPrefix[p] {
			f(at)
		}
	}
}
