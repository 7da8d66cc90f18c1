package engine

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

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

// later counts the later fragments to a victim that belong to packets from one
// port: they have no port of their own.
func (t *turn) later(rule *rules.Signature, v *rates.Target, packets, needed float64) float64 {
	f := &rule.Fragments
	if f.PerPacket == 0 || packets*(1+f.PerPacket) < rule.Packets || float64(v.Bytes1s) < f.MeanFrame*float64(max(1, v.Packets1s)) {
		return 0
	}
	for i := range t.r.Victims {
		x := &t.r.Victims[i]
		if x.Class != schemas.ClassFragLater || x.Destination != v.Destination || x.Protocol != v.Protocol {
			continue
		}
		n, sources := x.Packets10s, x.Sources10s
		if rule.Window == time.Second {
			n, sources = x.Packets1s, x.Sources1s
		}
		if float64(sources) < f.Sources*needed {
			return 0
		}
		return min(float64(n), f.PerPacket*packets)
	}
	return 0
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
