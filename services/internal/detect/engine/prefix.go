package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// prefixes applies the rules about networks to those in which a source has been
// leased by this record: nothing else brings a network nearer to its bounds.
func (t *turn) prefixes() {
	recent := t.w.recent
	fresh := len(recent)
	for fresh > 0 && recent[fresh-1].at.Equal(t.now) {
		fresh--
	}
	for i := range t.w.set.Prefixes {
		rule := &t.w.set.Prefixes[i]
		if rule.Off {
			continue
		}
		for j := fresh; j < len(recent); j++ {
			if p := network(rule, recent[j].source); p.IsValid() && t.lookup(t.w.target, commands.Match{Source: p}, t.now) == nil {
				t.prefix(rule, p)
			}
		}
	}
}

// network is the prefix of a rule that a source is in.
func network(rule *rules.Prefix, source netip.Prefix) netip.Prefix {
	bits := rule.Bits4
	if source.Addr().Is6() {
		bits = rule.Bits6
	}
	if bits >= source.Bits() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(source.Addr(), bits).Masked()
}

func (t *turn) prefix(rule *rules.Prefix, p netip.Prefix) {
	if t.isProtected(p) {
		return
	}
	blocked := map[netip.Prefix]bool{}
	for _, x := range t.w.recent {
		if p.Contains(x.source.Addr()) && t.now.Sub(x.at) <= rule.Window {
			blocked[x.source] = true
		}
	}
	if float64(len(blocked)) < rule.Blocked {
		return
	}
	for i := range t.r.Victims {
		if p.Contains(t.r.Victims[i].Destination) {
			return // the interface's own network
		}
	}
	leased := map[netip.Prefix]bool{}
	careful := false
	for m, l := range t.Engine.held[t.w.target] {
		if m.Source.IsValid() && p.Contains(m.Source.Addr()) {
			leased[m.Source] = true
			careful = careful || l.careful
		}
	}
	var active, taken float64
	for i := range t.r.Top {
		if s := &t.r.Top[i]; p.Contains(s.Source) && s.Window10s.Packets > 0 {
			active++
			if leased[prefixOf(s.Source)] {
				taken++
			}
		}
	}
	if active == 0 || taken/active < rule.Share {
		return
	}
	n := float64(len(blocked))
	t.issue(&order{
		match: commands.Match{Source: p}, action: rule.Action, rate: rule.Rate, set: t.w.set, rule: rule.ID, careful: careful,
		measured: n, threshold: rule.Blocked, window: rule.Window, pps: max(1, float64(rule.Rate)),
		reason: fmt.Sprintf("%s %s: %.0f sources of %v leased in %v (≥ %.0f), %.0f of %.0f active ones are (≥ %.0f %%)",
			rule.ID, rule.Name, n, p, rule.Window, rule.Blocked, taken, active, 100*rule.Share),
	})
}

// covering returns the live lease on the network of a source, or nil.
func (t *turn) covering(a netip.Addr) *lease {
	for i := range t.w.set.Prefixes {
		p := network(&t.w.set.Prefixes[i], prefixOf(a))
		if !p.IsValid() {
			continue
		}
		if l := t.lookup(t.w.target, commands.Match{Source: p}, t.now); l != nil {
			return l
		}
	}
	return nil
}

// longestWindow is how long leases are remembered for the rules about networks.
func longestWindow(s *rules.Set) time.Duration {
	var most time.Duration
	for i := range s.Prefixes {
		most = max(most, s.Prefixes[i].Window)
	}
	return most
}
