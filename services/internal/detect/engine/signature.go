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
	switch {
	case t.r.Window1s.Packets == 0 && t.r.Window10s.Packets == 0:
		return math.Inf(1)
	case rule.Window == time.Second:
		return float64(t.r.Window1s.ByClass[rule.Class])
	}
	return float64(t.r.Window10s.ByClass[rule.Class])
}

// hasPort reports whether the targets of a class are told apart by port.
func hasPort(c schemas.Class) bool {
	return c == schemas.ClassSYN || c == schemas.ClassSYNACK || c == schemas.ClassUDP
}

// sum adds up the ports of each victim.
func (t *turn) sum(v *rates.Target) {
	i, ok := t.at[v.Destination]
	if !ok {
		i = len(t.victims)
		t.at[v.Destination] = i
		t.victims = append(t.victims, rates.Target{Destination: v.Destination, Class: v.Class, Protocol: v.Protocol})
	}
	s := &t.victims[i]
	s.Packets1s += v.Packets1s
	s.Packets10s += v.Packets10s
	s.Sources1s += v.Sources1s
	s.Sources10s += v.Sources10s
}

// scale makes up for the targets that the record has no place for: a flood at
// random ports leaves a packet or two at each of thousands. Victims share what is
// not listed as they share what is.
func (t *turn) scale(rule *rules.Signature, c *crowd) {
	var listed float64
	one := rule.Window == time.Second
	for j := range t.victims {
		if one {
			listed += float64(t.victims[j].Packets1s)
		} else {
			listed += float64(t.victims[j].Packets10s)
		}
	}
	if listed == 0 || listed >= c.packets {
		return
	}
	by := c.packets / listed
	for j := range t.victims {
		v := &t.victims[j]
		for _, n := range []*uint64{&v.Packets1s, &v.Packets10s, &v.Sources1s, &v.Sources10s} {
			*n = uint64(float64(*n) * by)
		}
	}
}

// crowd is what the record says of the sources of one class as a whole.
type crowd struct {
	packets           float64 // of the class on the interface
	distinct          float64 // sources
	heavy, heavyCount float64 // packets of sources over the rule's mean by themselves, and those sources
	mute              float64 // share of the sources in the record that send nothing else of TCP
}

func (t *turn) crowd(rule *rules.Signature) crowd {
	c := crowd{packets: float64(t.r.Window10s.ByClass[rule.Class])}
	one := rule.Window == time.Second
	if one {
		c.packets = float64(t.r.Window1s.ByClass[rule.Class])
	}
	pick := func(short, long uint64) float64 {
		if one {
			return float64(short)
		}
		return float64(long)
	}
	switch rule.Class {
	case schemas.ClassSYN:
		c.distinct = pick(t.r.SYNSources1s, t.r.SYNSources10s)
	case schemas.ClassSYNACK:
		c.distinct = pick(t.r.SYNACKSources1s, t.r.SYNACKSources10s)
	default:
		c.distinct = pick(t.r.Sources1s, t.r.Sources10s)
	}
	if rule.PerSource == 0 && rule.Mute == 0 {
		return c
	}
	var senders, mute float64
	for i := range t.r.Top {
		w := windowOf(&t.r.Top[i], rule.Window)
		n := float64(w.ByClass[rule.Class])
		if n == 0 {
			continue
		}
		senders++
		if w.ByClass[schemas.ClassTCPOther] == 0 {
			mute++
		}
		if rule.PerSource > 0 && n > rule.PerSource {
			c.heavy += n
			c.heavyCount++
		}
	}
	if senders > 0 {
		c.mute = mute / senders
	}
	return c
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
	light := min(packets, c.packets-c.heavy)
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
	x := found{rule: rule, packets: light, sources: sources, needed: needed}
	if m, ok := signatureMatch(v); ok {
		t.issue(&order{match: m, action: rule.Action, rate: rule.Rate, set: set, rule: rule.ID, found: x,
			measured: light, threshold: rule.Packets, window: rule.Window})
	}
	for i := range rule.Also {
		t.also(set, &rule.Also[i], v.Destination, x)
	}
	return true
}

// inside counts the packets from inside TCP connections to a victim.
func (t *turn) inside(destination netip.Addr, window time.Duration) float64 {
	for i := range t.r.Victims {
		v := &t.r.Victims[i]
		if v.Class != schemas.ClassTCPOther || v.Destination != destination {
			continue
		}
		if window == time.Second {
			return float64(v.Packets1s)
		}
		return float64(v.Packets10s)
	}
	return 0
}

// found is what a signature's rule has seen, to be told if something follows.
type found struct {
	rule                     *rules.Signature
	packets, sources, needed float64
	also                     *rules.Also
	alsoPackets              float64
}

func (x *found) explain() string {
	r := x.rule
	s := fmt.Sprintf("%s %s: %.0f %s in %v (≥ %.0f) from about %.0f sources (≥ %.0f)",
		r.ID, r.Name, x.packets, r.Class, r.Window, r.Packets, x.sources, x.needed)
	if x.also != nil {
		s += fmt.Sprintf("; with it %.0f %s in %v (≥ %.0f)", x.alsoPackets, x.also.Class, r.Window, x.also.Packets)
	}
	return s
}

// also covers the victim's packets of another class.
func (t *turn) also(set *rules.Set, a *rules.Also, destination netip.Addr, x found) {
	for i := range t.r.Victims {
		v := &t.r.Victims[i]
		n := float64(v.Packets10s)
		if x.rule.Window == time.Second {
			n = float64(v.Packets1s)
		}
		if v.Class != a.Class || v.Destination != destination || n < a.Packets || hasPort(v.Class) && v.Port == 0 {
			continue
		}
		m, ok := signatureMatch(v)
		if !ok {
			continue
		}
		x.also, x.alsoPackets = a, n
		action, rate := x.rule.Action, x.rule.Rate
		if a.Action != "" {
			action, rate = a.Action, a.Rate
		}
		t.issue(&order{match: m, action: action, rate: rate, set: set, rule: x.rule.ID, found: x,
			measured: n, threshold: a.Packets, window: x.rule.Window})
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
