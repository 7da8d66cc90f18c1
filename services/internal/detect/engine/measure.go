package engine

import (
	"fmt"
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
	flagACK        = 0x10
)

// openingFlags select the first packet of a connection, floods with SYN and
// other flags included.
var openingFlags = commands.TCPFlags{Mask: flagSYN | flagACK, Value: flagSYN}

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
func metric(name string, s *rates.Source, window time.Duration) float64 {
	c := windowOf(s, window)
	switch name {
	case rules.SYN:
		return float64(c.ByClass[schemas.ClassSYN])
	case rules.SYNShare:
		return ratio(c.ByClass[schemas.ClassSYN], tcp(c))
	case rules.UDP:
		return float64(c.ByClass[schemas.ClassUDP])
	case rules.UDPMeanFrame:
		return ratio(c.UDPBytes, c.ByClass[schemas.ClassUDP])
	case rules.PortPairs:
		return float64(s.PortPairs)
	case rules.ICMP:
		return float64(c.ByClass[schemas.ClassICMP])
	case rules.Packets:
		return float64(c.Packets)
	}
	return 0
}

func meets(k *rules.Condition, v float64) bool {
	if k.AtLeast != nil {
		return v >= *k.AtLeast
	}
	return v < *k.Below
}

// holds reports whether a rule applies to a source, and the value of its first
// condition.
func holds(rule *rules.Source, s *rates.Source) (measured float64, ok bool) {
	for i := range rule.All {
		v := metric(rule.All[i].Metric, s, rule.Window)
		if i == 0 {
			measured = v
		}
		if !meets(&rule.All[i], v) {
			return measured, false
		}
	}
	if len(rule.Any) == 0 {
		return measured, true
	}
	for i := range rule.Any {
		if meets(&rule.Any[i], metric(rule.Any[i].Metric, s, rule.Window)) {
			return measured, true
		}
	}
	return measured, false
}

// explain says what was measured against what: "92 syn in 10s (≥ 60), 31 %
// syn_share (≥ 18 %)".
func explain(rule *rules.Source, s *rates.Source) string {
	var parts []string
	for i, k := range append(append([]rules.Condition{}, rule.All...), rule.Any...) {
		v := metric(k.Metric, s, rule.Window)
		if i >= len(rule.All) && !meets(&k, v) {
			continue
		}
		bound, sign := 0.0, "≥"
		if k.AtLeast != nil {
			bound = *k.AtLeast
		} else {
			bound, sign = *k.Below, "<"
		}
		if k.Metric == rules.SYNShare {
			parts = append(parts, fmt.Sprintf("%.0f %% of its TCP (%s %.0f %%)", 100*v, sign, 100*bound))
			continue
		}
		name := strings.ReplaceAll(k.Metric, "_", " ")
		parts = append(parts, fmt.Sprintf("%.0f %s in %v (%s %.0f)", v, name, rule.Window, sign, bound))
	}
	return strings.Join(parts, ", ")
}
