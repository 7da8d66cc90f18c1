package engine

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// saturated is where the estimate of a target's sources stops telling: 64 bits
// cannot count much beyond 250.
const saturated = 200

// signature applies the rule at index i of every set to the victims of the
// record. What a single heavy source sends is taken off first: that is the
// business of the source rules.
func (t *turn) signature(i int) {
	base := &t.w.set.Signatures[i]
	if !t.Rules.HasTo() && (base.Off || t.total(base) < base.Packets) {
		return
	}
	crowd := t.crowd(base)
	sumPorts := base.Class == schemas.ClassSYN // a flood at random ports
	if sumPorts {
		t.victims = t.victims[:0]
		clear(t.at)
		clear(t.decided)
	}
	for j := range t.r.Victims {
		v := &t.r.Victims[j]
		if v.Class != base.Class || !v.Destination.IsValid() {
			continue
		}
		if sumPorts {
			t.sum(v)
		}
		if v.Port == 0 && hasPort(v.Class) {
			continue // all the ports that had no place of their own
		}
		set := t.setTo(t.w, v.Destination)
		if t.victim(set, &set.Signatures[i], v, &crowd) && sumPorts {
			t.decided[v.Destination] = true
		}
	}
	if !sumPorts {
		return
	}
	t.scale(base, &crowd)
	for j := range t.victims {
		v := &t.victims[j]
		if !t.decided[v.Destination] {
			set := t.setTo(t.w, v.Destination)
			t.victim(set, &set.Signatures[i], v, &crowd)
		}
	}
}

// total is what the interface has of a rule's class in its window, or infinite in
// a record that does not say.
func (t *turn) total(rule *rules.Signature) float64 {
	if t.r.Window1s.Packets == 0 && t.r.Window10s.Packets == 0 {
		return math.Inf(1)
	}
	of := &t.r.Window10s.ByClass
	if rule.Window == time.Second {
		of = &t.r.Window1s.ByClass
	}
	n := of[rule.Class]
	if rule.Fragments.PerPacket > 0 {
		n += of[schemas.ClassFragLater]
	}
	return float64(n)
}

// hasPort reports whether the targets of a class are told apart by port.
func hasPort(c schemas.Class) bool {
	return c == schemas.ClassSYN || c == schemas.ClassSYNACK || c == schemas.ClassUDP
}

// victim applies one rule to one victim and reports whether it holds.
func (t *turn) victim(set *rules.Set, rule *rules.Signature, v *rates.Target, c *crowd) bool {
	needed, ok := rule.SourcesFor(v.Port)
	if !ok || rule.Off {
		return false
	}
	packets, sources := float64(v.Packets10s), float64(v.Sources10s)
	if rule.Window == time.Second {
		packets, sources = float64(v.Packets1s), float64(v.Sources1s)
	}
	later := t.later(rule, v, packets, needed)
	light := min(packets, c.packets-c.heavy) + later
	if sources >= saturated {
		sources = min(light, max(sources, c.distinct))
	}
	sources = max(0, min(sources, c.distinct-c.heavyCount))
	switch {
	case light < rule.Packets, sources < needed:
		return false
	case rule.PerSource > 0 && light/sources > rule.PerSource:
		return false
	case rule.Mute > 0 && c.mute < rule.Mute:
		return false
	case rule.Healthy > 0 && light < set.Baseline.Limit*rule.Packets && packets <= rule.Healthy*(packets+t.inside(v.Destination, rule.Window)):
		return false
	case rule.Vote && light < set.Baseline.Limit*rule.Packets && t.isUsual(set, rule.Class, c.packets/rule.Window.Seconds()):
		return false
	}
	t.attacked = true
	x := found{rule: rule, packets: light, later: later, sources: sources, needed: needed}
	if m, ok := signatureMatch(v); ok {
		t.issue(&order{match: m, action: rule.Action, rate: rule.Rate, set: set, rule: rule.ID, found: x,
			measured: light, threshold: rule.Packets, window: rule.Window})
	}
	for i := range rule.Also {
		t.also(set, &rule.Also[i], v.Destination, x)
	}
	return true
}

// found is what a signature's rule has seen, to be told if something follows.
type found struct {
	rule                     *rules.Signature
	packets, sources, needed float64
	later                    float64 // of the packets, those without a port
	also                     *rules.Also
	alsoPackets              float64
}

func (x *found) explain() string {
	r := x.rule
	what := r.Class.String()
	if x.later > 0 {
		what = fmt.Sprintf("%v and their fragments", r.Class)
	}
	s := fmt.Sprintf("%s %s: %.0f %s in %v (≥ %.0f) from about %.0f sources (≥ %.0f)",
		r.ID, r.Name, x.packets, what, r.Window, r.Packets, x.sources, x.needed)
	if x.also != nil {
		s += fmt.Sprintf("; with it %.0f %s in %v (≥ %.0f)", x.alsoPackets, x.also.Class, r.Window, x.also.Packets)
	}
	return s
}

// also covers the victim's packets of another class. Fragments that made the rule
// hold are covered however few they are, and those of a few sources, a file
// server's, however many.
func (t *turn) also(set *rules.Set, a *rules.Also, destination netip.Addr, x found) {
	for i := range t.r.Victims {
		v := &t.r.Victims[i]
		n, sources := float64(v.Packets10s), float64(v.Sources10s)
		if x.rule.Window == time.Second {
			n, sources = float64(v.Packets1s), float64(v.Sources1s)
		}
		if v.Class == schemas.ClassFragLater && sources < x.rule.Fragments.Sources*x.needed {
			continue
		}
		counted := x.later > 0 && v.Class == schemas.ClassFragLater && v.Protocol == protocolUDP
		if v.Class != a.Class || v.Destination != destination || n < a.Packets && !counted || hasPort(v.Class) && v.Port == 0 {
			continue
		}
		m, ok := signatureMatch(v)
		if !ok {
			continue
		}
		o := order{match: m, action: x.rule.Action, rate: x.rule.Rate, set: set, rule: x.rule.ID, found: x,
			measured: x.packets, threshold: x.rule.Packets, window: x.rule.Window}
		if n >= a.Packets {
			o.found.also, o.found.alsoPackets, o.measured, o.threshold = a, n, n, a.Packets
		}
		if a.Action != "" {
			o.action, o.rate = a.Action, a.Rate
		}
		t.issue(&o)
	}
}

// signatureMatch is the match of a lease on a target, or false if there is none.
func signatureMatch(v *rates.Target) (commands.Match, bool) {
	m := commands.Match{Destination: netip.PrefixFrom(v.Destination, v.Destination.BitLen())}
	switch v.Class {
	case schemas.ClassSYN:
		m.Protocol, m.TCPFlags, m.DestinationPort = protocolTCP, openingFlags(), v.Port
	case schemas.ClassSYNACK:
		m.Protocol, m.TCPFlags, m.SourcePort = protocolTCP, answerFlags(), v.Port
	case schemas.ClassRST:
		m.Protocol, m.TCPFlags = protocolTCP, resetFlags()
	case schemas.ClassUDP:
		m.Protocol, m.SourcePort = protocolUDP, v.Port
	case schemas.ClassICMP:
		m.Protocol = icmpOf(v.Destination)
	case schemas.ClassFragLater:
		m.Protocol, m.Fragments = v.Protocol, true
	default:
		return m, false
	}
	return m, true
}
