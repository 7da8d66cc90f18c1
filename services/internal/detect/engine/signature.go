package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// saturated is where the estimate of a target's sources stops telling: 64 bits
// cannot count much beyond 250.
const saturated = 200

// signature applies one rule to every victim of the record. What a single heavy
// source sends is taken off first: that is the business of the source rules.
func (e *Engine) signature(r *rates.Record, rule *rules.Signature, now time.Time) []Decision {
	heavy, heavySources := heavyShare(r, rule)
	var out []Decision
	// All ports of one victim together: a flood at random ports.
	byVictim := map[netip.Addr]*rates.Target{}
	var order []netip.Addr
	decided := map[netip.Addr]bool{}
	for i := range r.Victims {
		v := &r.Victims[i]
		if v.Class != rule.Class || !v.Destination.IsValid() {
			continue
		}
		if len(rule.Ports) > 0 && !slices.Contains(rule.Ports, v.Port) {
			continue
		}
		sum := byVictim[v.Destination]
		if sum == nil {
			sum = &rates.Target{Destination: v.Destination, Class: v.Class, Protocol: v.Protocol}
			byVictim[v.Destination] = sum
			order = append(order, v.Destination)
		}
		sum.Packets1s += v.Packets1s
		sum.Packets10s += v.Packets10s
		sum.Sources1s += v.Sources1s
		sum.Sources10s += v.Sources10s
		if v.Port == 0 {
			continue
		}
		if d, ok := e.victim(r, rule, v, heavy, heavySources, now); ok {
			decided[v.Destination] = true
			if d.Key != "" {
				out = append(out, d)
			}
		}
	}
	if len(rule.Ports) > 0 || rule.Class != schemas.ClassSYN {
		return out
	}
	for _, dst := range order {
		if decided[dst] {
			continue
		}
		if d, ok := e.victim(r, rule, byVictim[dst], heavy, heavySources, now); ok && d.Key != "" {
			out = append(out, d)
		}
	}
	return out
}

// heavyShare sums what sources send that are over the rule's mean by
// themselves.
func heavyShare(r *rates.Record, rule *rules.Signature) (packets, sources float64) {
	if rule.PerSource == 0 {
		return 0, 0
	}
	for i := range r.Top {
		if n := float64(windowOf(&r.Top[i], rule.Window).ByClass[rule.Class]); n > rule.PerSource {
			packets += n
			sources++
		}
	}
	return packets, sources
}

// victim reports whether the rule holds for a victim; the decision has no key
// when there is nothing new to write.
func (e *Engine) victim(r *rates.Record, rule *rules.Signature, v *rates.Target, heavy, heavySources float64, now time.Time) (Decision, bool) {
	packets, sources := float64(v.Packets10s), float64(v.Sources10s)
	all := r.Window10s.ByClass[rule.Class]
	distinct := r.Sources10s
	switch {
	case rule.Class == schemas.ClassSYN:
		distinct = r.SYNSources10s
	case rule.Class == schemas.ClassSYNACK:
		distinct = r.SYNACKSources10s
	}
	if rule.Window == time.Second {
		packets, sources, all = float64(v.Packets1s), float64(v.Sources1s), r.Window1s.ByClass[rule.Class]
		distinct = r.Sources1s
		switch {
		case rule.Class == schemas.ClassSYN:
			distinct = r.SYNSources1s
		case rule.Class == schemas.ClassSYNACK:
			distinct = r.SYNACKSources1s
		}
	}
	light := min(packets, float64(all)-heavy)
	if sources >= saturated {
		sources = min(light, max(sources, float64(distinct)))
	}
	sources = max(0, min(sources, float64(distinct)-heavySources))
	if light < rule.Packets || sources < rule.Sources {
		return Decision{}, false
	}
	if rule.PerSource > 0 && light/sources > rule.PerSource {
		return Decision{}, false
	}
	c := commands.Command{Target: e.target(r), Match: signatureMatch(v), Action: rule.Action, Issuer: Issuer}
	if rule.Action == commands.RateLimit {
		c.Rate = &commands.Rate{PPS: rule.Rate}
	}
	c.Reason = fmt.Sprintf("%s %s: %.0f %s in %v (≥ %.0f) from about %.0f sources (≥ %.0f)",
		rule.ID, rule.Name, light, rule.Class, rule.Window, rule.Packets, sources, rule.Sources)
	d, ok := e.issue(r, c, rule.ID, light, rule.Packets, rule.Window, false, now)
	if !ok {
		return Decision{}, true
	}
	return d, true
}

func signatureMatch(v *rates.Target) commands.Match {
	m := commands.Match{Destination: netip.PrefixFrom(v.Destination, v.Destination.BitLen())}
	switch v.Class {
	case schemas.ClassSYN:
		m.Protocol, m.TCPFlags, m.DestinationPort = protocolTCP, openingFlags, v.Port
	case schemas.ClassSYNACK:
		m.Protocol, m.TCPFlags, m.SourcePort = protocolTCP, commands.TCPFlags{Mask: flagSYN | flagACK, Value: flagSYN | flagACK}, v.Port
	default:
		m.Protocol, m.SourcePort = protocolUDP, v.Port
	}
	return m
}
