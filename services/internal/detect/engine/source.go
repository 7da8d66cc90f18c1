package engine

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// hit is a rule that holds for a source.
type hit struct {
	s        *rates.Source
	set      *rules.Set
	rule     *rules.Source
	key      *rules.Condition // whose bound is the threshold
	measured float64
	regular  bool // the source is one of quiet hours
}

// sources applies the rules about single sources.
func (t *turn) sources() {
	t.hits = t.hits[:0]
	if !t.mayHold() {
		return
	}
	for i := range t.r.Top {
		s := &t.r.Top[i]
		set := t.setFrom(t.w, s.Source)
		first := len(t.hits)
		for j := range set.Sources {
			rule := &set.Sources[j]
			if rule.Off {
				continue
			}
			if k, measured, ok := t.holds(rule, set, s); ok && t.stands(rule, set, s, k, measured) {
				t.hits = append(t.hits, hit{s: s, set: set, rule: rule, key: k, measured: measured})
			}
		}
		if len(t.hits) > first && t.isProtected(netip.PrefixFrom(s.Source, s.Source.BitLen())) {
			t.hits = t.hits[:first]
		}
		if len(t.hits) > first {
			regular := t.w.regulars.has(s.Source)
			for j := first; j < len(t.hits); j++ {
				t.hits[j].regular = regular
			}
		}
	}
	if len(t.hits) == 0 {
		return
	}
	t.attacked = true
	spare := t.spareBytes()
	refused := 0
	var loudest *hit
	for i := 0; i < len(t.hits); {
		n := i + 1
		for n < len(t.hits) && t.hits[n].s == t.hits[i].s {
			n++
		}
		if !t.source(t.hits[i:n], &spare) {
			refused++
			if loudest == nil {
				loudest = &t.hits[i]
			}
		}
		i = n
	}
	if loudest != nil {
		t.instead(loudest, refused)
	}
}

// source orders what the hits of one source ask for. It returns false if the
// budget refused it.
func (t *turn) source(hits []hit, spare *spareBytes) bool {
	whole := t.lookup(t.w.target, commands.Match{Source: prefixOf(hits[0].s.Source)}, t.now)
	if whole != nil && whole.command.Action == commands.Drop {
		return true // there is nothing left to take
	}
	t.orders = t.orders[:0]
	for i := range hits {
		h := &hits[i]
		o, ok := t.orderFor(h, spare)
		if !ok {
			continue
		}
		t.add(o)
		if o.action == commands.Drop && o.match == (commands.Match{Source: o.match.Source}) {
			break // what the other rules could order is in this
		}
	}
	for i := range t.orders {
		if !t.issue(&t.orders[i]) {
			return false
		}
	}
	return true
}

// add keeps the stricter of two orders on one match.
func (t *turn) add(o order) {
	for i := range t.orders {
		p := &t.orders[i]
		if p.match == o.match {
			o.careful = o.careful || p.careful
			p.careful = o.careful
			if strictness(o.action, o.rate) > strictness(p.action, p.rate) {
				*p = o
			}
			return
		}
	}
	t.orders = append(t.orders, o)
}

// orderFor turns a hit into an order: what the rule says, softened where many
// people may be behind the source.
func (t *turn) orderFor(h *hit, spare *spareBytes) (order, bool) {
	cover, action, rate := h.rule.Cover, h.rule.Action, h.rule.Rate
	if l := t.covering(h.s.Source); l != nil && l.command.Action == commands.Drop {
		return order{}, false // the whole network is dropped
	}
	// Healthy TCP is what the rules about the unusual are about.
	careful := h.rule.Unusual == 0 && t.mayBeMany(h) || t.isSpared(h.s.Source)
	if !careful && h.regular && action != commands.Observe {
		careful = t.isBeyond(h, spare)
	}
	if careful && action == commands.Drop {
		action, cover = commands.RateLimit, h.rule.About()
		if rate == 0 {
			rate = max(1, uint64(h.key.Bound()/h.rule.Window.Seconds()/2))
		}
	}
	if careful && h.rule.Action == commands.RateLimit {
		rate *= max(1, h.set.Caution.Times)
	}
	if !careful && t.isIgnored(h, cover) {
		action, cover = commands.Drop, rules.CoverAll
	}
	m, ok := t.coverMatch(h.s, cover)
	if !ok {
		o := order{rule: h.rule.ID, measured: h.measured, threshold: h.key.Bound(), window: h.rule.Window}
		t.alert(Alert, h.rule.ID+" "+h.s.Source.String(), h.set.Unexplained.Again, &o,
			h.rule.ID+" "+h.rule.Name+": "+h.explain()+"; most of it is inside TCP connections, which are not limited")
		return order{}, false
	}
	return order{
		match: m, action: action, rate: rate, set: h.set, rule: h.rule.ID, measured: h.measured, threshold: h.key.Bound(),
		window: h.rule.Window, hit: h, single: true, careful: careful, regular: h.regular,
	}, true
}

// isIgnored reports whether the source goes on as if there were no limit.
func (t *turn) isIgnored(h *hit, cover rules.Cover) bool {
	if h.rule.DropAbove == 0 || float64(h.s.Window1s.Dropped) < h.rule.DropAbove {
		return false
	}
	m, ok := t.coverMatch(h.s, cover)
	l := t.lookup(t.w.target, m, t.now)
	return ok && l != nil && l.command.Action == commands.RateLimit && t.now.Sub(l.issuedAt) >= time.Second
}

// mayBeMany reports whether a source looks like a proxy or a carrier's NAT: its
// TCP of the last 10 s is healthy, or it has many sessions at once and had them
// in quiet hours already. A flood that opens sessions has no such past.
func (t *turn) mayBeMany(h *hit) bool {
	c, ten := &h.set.Caution, &h.s.Window10s
	all := float64(tcp(ten))
	if c.TCP > 0 && all >= c.TCP && ratio(ten.ByClass[schemas.ClassSYN], tcp(ten)) <= c.SYNShare {
		return true
	}
	return c.PortPairs > 0 && h.s.PortPairs >= c.PortPairs && float64(ten.ByClass[schemas.ClassTCPOther]) >= c.Inside &&
		t.w.regulars.talked(h.s.Source)
}

// isSpared reports whether a live lease on the source was softened: the flood
// that came since does not make those fewer who are behind it.
func (t *turn) isSpared(a netip.Addr) bool {
	for _, m := range leasesOn(a) {
		if l := t.lookup(t.w.target, m, t.now); l != nil && l.careful {
			return true
		}
	}
	return false
}

// leasesOn are the matches that rules write for a source.
func leasesOn(a netip.Addr) [5]commands.Match {
	p := prefixOf(a)
	return [...]commands.Match{
		{Source: p}, {Source: p, Protocol: protocolTCP, TCPFlags: openingFlags()}, {Source: p, Protocol: protocolUDP}, {Source: p, Protocol: icmpOf(a)},
		{Source: p, Fragments: true},
	}
}

// prefixOf is how a source is named: an IPv6 address whose lower half is zero is
// how the probe names a /64.
func prefixOf(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if b := a.As16(); a.Is6() && [8]byte(b[8:]) == [8]byte{} {
		bits = 64
	}
	return netip.PrefixFrom(a, bits)
}

// coverMatch is the match of a lease on a source, or false if there is none.
func (t *turn) coverMatch(s *rates.Source, cover rules.Cover) (commands.Match, bool) {
	m := commands.Match{Source: prefixOf(s.Source)}
	if cover == rules.CoverDominant {
		return t.dominant(m, s)
	}
	switch cover {
	case rules.CoverSYN:
		m.Protocol, m.TCPFlags = protocolTCP, openingFlags()
	case rules.CoverUDP:
		m.Protocol = protocolUDP
	case rules.CoverFragments:
		m.Fragments = true
	case rules.CoverICMP:
		m.Protocol = icmpOf(s.Source)
	}
	return m, true
}

// dominant covers what the source sends most of. The inside of connections is
// nothing that a lease may take.
func (t *turn) dominant(m commands.Match, s *rates.Source) (commands.Match, bool) {
	most := mostOf(s)
	switch most {
	case schemas.ClassSYN:
		m.Protocol, m.TCPFlags = protocolTCP, openingFlags()
	case schemas.ClassSYNACK:
		m.Protocol, m.TCPFlags = protocolTCP, answerFlags()
	case schemas.ClassRST:
		m.Protocol, m.TCPFlags = protocolTCP, resetFlags()
	case schemas.ClassUDP:
		m.Protocol = protocolUDP
	case schemas.ClassFragLater:
		m.Fragments = true
	case schemas.ClassICMP:
		m.Protocol = icmpOf(s.Source)
	case schemas.ClassOther:
		// The record names protocols only of victims: if one of them gets this
		// much, it is from here.
		for i := range t.r.Victims {
			v := &t.r.Victims[i]
			if v.Class == most && v.Protocol != 0 && 2*v.Packets1s > s.Window1s.ByClass[most] {
				m.Protocol = v.Protocol
				return m, true
			}
		}
		return m, false
	default:
		return m, false
	}
	return m, true
}

func icmpOf(a netip.Addr) uint8 {
	if a.Is6() {
		return protocolICMPv6
	}
	return protocolICMP
}
