package engine

import (
	"strconv"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

const (
	protocolICMP   = 1
	protocolTCP    = 6
	protocolUDP    = 17
	protocolICMPv6 = 58
	flagSYN        = 0x02
	flagRST        = 0x04
	flagACK        = 0x10
)

// openingFlags select the first packet of a connection, floods with SYN and
// other flags included.
func openingFlags() commands.TCPFlags {
	return commands.TCPFlags{Mask: flagSYN | flagACK, Value: flagSYN}
}

// answerFlags select the second packet of a connection.
func answerFlags() commands.TCPFlags {
	return commands.TCPFlags{Mask: flagSYN | flagACK, Value: flagSYN | flagACK}
}

func resetFlags() commands.TCPFlags {
	return commands.TCPFlags{Mask: flagSYN | flagRST, Value: flagRST}
}

func windowOf(s *rates.Source, window time.Duration) *rates.Counts {
	if window == time.Second {
		return &s.Window1s
	}
	return &s.Window10s
}

func tcp(c *rates.Counts) uint64 {
	return c.ByClass[schemas.ClassSYN] + c.ByClass[schemas.ClassSYNACK] + c.ByClass[schemas.ClassRST] + c.ByClass[schemas.ClassTCPOther]
}

func ratio(a, b uint64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// metric measures a source in the rule's window.
func metric(name string, s *rates.Source, window time.Duration, link float64) float64 {
	c := windowOf(s, window)
	switch name {
	case rules.SYN:
		return float64(c.ByClass[schemas.ClassSYN])
	case rules.SYNShare:
		return ratio(c.ByClass[schemas.ClassSYN], tcp(c))
	case rules.TCPInside:
		return float64(c.ByClass[schemas.ClassTCPOther])
	case rules.UDP:
		return float64(c.ByClass[schemas.ClassUDP])
	case rules.UDPMeanFrame:
		return ratio(c.UDPBytes, c.ByClass[schemas.ClassUDP])
	case rules.PortPairs:
		return float64(s.PortPairs)
	case rules.ICMP:
		return float64(c.ByClass[schemas.ClassICMP])
	case rules.Fragments:
		return float64(c.ByClass[schemas.ClassFragLater])
	case rules.Packets:
		return float64(c.Packets)
	case rules.MeanFrame:
		return ratio(c.Bytes, c.Packets)
	case rules.LinkShare:
		if link > 0 {
			return float64(c.Bytes) * 8 / window.Seconds() / link
		}
	}
	return 0
}

// meets compares, and knows of conditions that must hold for a while how long
// they have.
func (t *turn) meets(k *rules.Condition, v float64, rule string, s *rates.Source) bool {
	if k.AtLeast != nil && v < *k.AtLeast || k.Below != nil && v >= *k.Below {
		return false
	}
	if k.For == 0 {
		return true
	}
	key := sinceKey{s.Source, rule, k.Metric}
	x := t.w.since[key]
	lasted := x.held(t.now)
	t.w.since[key] = x
	return lasted >= k.For
}

// holds reports whether a rule applies to a source, and the condition that is
// its threshold with what was measured.
func (t *turn) holds(rule *rules.Source, set *rules.Set, s *rates.Source) (key *rules.Condition, measured float64, ok bool) {
	for i := range rule.All {
		k := &rule.All[i]
		v := metric(k.Metric, s, rule.Window, set.Link)
		if !t.meets(k, v, rule.ID, s) {
			return nil, 0, false
		}
		if i == 0 {
			key, measured = k, v
		}
	}
	if len(rule.Any) == 0 {
		return key, measured, true
	}
	for i := range rule.Any {
		k := &rule.Any[i]
		v := metric(k.Metric, s, rule.Window, set.Link)
		if !t.meets(k, v, rule.ID, s) {
			continue
		}
		if key == nil {
			key, measured = k, v
		}
		return key, measured, true
	}
	return nil, 0, false
}

// explain says what was measured against what: "92 syn in 10s (≥ 60), 31 % of
// its TCP (≥ 18 %)". It is said of thousands of sources at once: no fmt.
func (h *hit) explain() string {
	b := make([]byte, 0, 96)
	for i := range h.rule.All {
		b = h.compare(b, &h.rule.All[i], true)
	}
	for i := range h.rule.Any {
		b = h.compare(b, &h.rule.Any[i], false)
	}
	return string(b)
}

// compare appends one condition; one of Any only if it holds.
func (h *hit) compare(b []byte, k *rules.Condition, must bool) []byte {
	v, bound := metric(k.Metric, h.s, h.rule.Window, h.set.Link), k.Bound()
	sign, holds := " (≥ ", v >= bound
	if k.Below != nil {
		sign, holds = " (< ", v < bound
	}
	if !must && !holds {
		return b
	}
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	unit := ""
	switch k.Metric {
	case rules.SYNShare:
		unit, v, bound = " % of its TCP", 100*v, 100*bound
	case rules.LinkShare:
		unit, v, bound = " % of the link", 100*v, 100*bound
	}
	b = strconv.AppendFloat(b, v, 'f', 0, 64)
	if unit == "" {
		b = append(append(append(append(b, ' '), strings.ReplaceAll(k.Metric, "_", " ")...), " in "...), h.rule.Window.String()...)
	}
	b = append(append(b, unit...), sign...)
	b = strconv.AppendFloat(b, bound, 'f', 0, 64)
	if unit != "" {
		b = append(b, " %"...)
	}
	return append(b, ')')
}
