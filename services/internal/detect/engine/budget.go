package engine

import (
	"fmt"
	"net/netip"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// spareBytes are the bytes that may be cut off sources of quiet hours, over the
// last 10 s: a share of all that is no attack.
type spareBytes struct{ left float64 }

// spareBytes adds up the interface's bytes, without those of sources that a rule
// holds for and that quiet hours did not see: these are the attack.
func (t *turn) spareBytes() spareBytes {
	all := float64(t.r.Window10s.Bytes)
	var s *rates.Source
	for i := range t.hits {
		if h := &t.hits[i]; h.s != s && !h.regular {
			all -= float64(h.s.Window10s.Bytes)
		}
		s = t.hits[i].s
	}
	return spareBytes{left: max(0, all) * t.w.set.Budget.BytesShare}
}

// isBeyond reports whether blocking a source of quiet hours goes beyond the
// budget for those: then it is only limited in what the rule is about.
func (t *turn) isBeyond(h *hit, spare *spareBytes) bool {
	b := &t.w.set.Budget
	if bytes := float64(h.s.Window10s.Bytes); bytes > spare.left {
		return true
	} else if h.rule.Action == commands.Drop {
		spare.left -= bytes
	}
	known := t.known[t.w.target]
	return known >= b.KnownFree && float64(known) >= b.KnownShare*t.w.regulars.count()
}

// instead answers more attackers than the budget has leases for by one signature
// for what they have in common: the heaviest victim of the first refused rule.
func (t *turn) instead(h *hit, refused int) {
	class := classOf(h.rule.About())
	v := heaviestVictim(t.r.Victims, class)
	if v == nil || h.rule.Action == commands.Observe {
		return
	}
	rate := max(1, h.rule.Rate)
	measured, threshold := float64(refused), float64(h.set.Budget.PerSecond)
	m, ok := signatureMatch(v)
	if !ok {
		return
	}
	t.issue(&order{
		match: m, action: commands.RateLimit, rate: rate, set: h.set, rule: h.rule.ID, measured: measured, threshold: threshold,
		window: h.rule.Window, pps: float64(rate),
		reason: fmt.Sprintf("%s %s: %d sources more than the budget has leases for; limiting what they send to %v", h.rule.ID, h.rule.Name, refused, v.Destination),
	})
}

func classOf(c rules.Cover) schemas.Class {
	switch c {
	case rules.CoverSYN:
		return schemas.ClassSYN
	case rules.CoverICMP:
		return schemas.ClassICMP
	case rules.CoverFragments:
		return schemas.ClassFragLater
	default:
		return schemas.ClassUDP
	}
}

// heaviestVictim adds up the ports of each victim and returns the heaviest one,
// with its port if most of it has one.
func heaviestVictim(victims []rates.Target, class schemas.Class) *rates.Target {
	sums := map[netip.Addr]*rates.Target{}
	ports := map[netip.Addr]*rates.Target{}
	var best *rates.Target
	for i := range victims {
		v := &victims[i]
		if v.Class != class || !v.Destination.IsValid() {
			continue
		}
		s := sums[v.Destination]
		if s == nil {
			s = &rates.Target{Destination: v.Destination, Class: class, Protocol: v.Protocol}
			sums[v.Destination] = s
		}
		s.Packets1s += v.Packets1s
		if p := ports[v.Destination]; p == nil || v.Packets1s > p.Packets1s {
			ports[v.Destination] = v
		}
		if best == nil || s.Packets1s > best.Packets1s {
			best = s
		}
	}
	if best != nil {
		if p := ports[best.Destination]; 10*p.Packets1s >= 7*best.Packets1s {
			best.Port = p.Port
		}
	}
	return best
}
