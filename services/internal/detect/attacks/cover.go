package attacks

import (
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
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

// Takes reports whether packets of a class can be among those that m takes, its
// addresses and ports aside.
func Takes(m *commands.Match, class schemas.Class) bool {
	if m.Fragments {
		return class == schemas.ClassFragLater
	}
	switch m.Protocol {
	case 0:
		return true
	case protocolTCP:
		return takesFlags(m.TCPFlags, class)
	case protocolUDP:
		return class == schemas.ClassUDP
	case protocolICMP, protocolICMPv6:
		return class == schemas.ClassICMP
	}
	return class == schemas.ClassOther
}

// takesFlags goes by SYN, RST and ACK alone: that is what the classes tell apart.
// A SYN with RST is nothing that any of them is about.
func takesFlags(f commands.TCPFlags, class schemas.Class) bool {
	const told = flagSYN | flagRST | flagACK
	fits := func(flags uint8) bool { return flags&f.Mask&told == f.Value&told }
	switch class {
	case schemas.ClassSYN:
		return fits(flagSYN)
	case schemas.ClassSYNACK:
		return fits(flagSYN | flagACK)
	case schemas.ClassRST:
		return fits(flagRST) || fits(flagRST|flagACK)
	case schemas.ClassTCPOther:
		return fits(0) || fits(flagACK)
	}
	return false
}

// covered returns the share of a source's packets that m takes.
func covered(m *commands.Match, c *rates.Counts) float64 {
	if m.Protocol == 0 && !m.Fragments {
		return 1
	}
	var n uint64
	for class, packets := range c.ByClass {
		if Takes(m, schemas.Class(class)) {
			n += packets
		}
	}
	if c.Packets == 0 {
		return 0
	}
	return float64(n) / float64(c.Packets)
}

// Signs reports whether a signature takes the traffic that a target of class,
// protocol and port stands for: its port is the destination's for a SYN, and the
// source's otherwise.
func Signs(m *commands.Match, class schemas.Class, protocol uint8, port uint16) bool {
	want := m.SourcePort
	if class == schemas.ClassSYN {
		want = m.DestinationPort
	}
	return (m.Protocol == 0 || m.Protocol == protocol) && (want == 0 || want == port) && Takes(m, class)
}

func signs(m *commands.Match, v *rates.Target) bool {
	return m.Destination.Contains(v.Destination) && Signs(m, v.Class, v.Protocol, v.Port)
}

// saturated is where the estimate of a target's sources stops telling.
const saturated = 200

// estimate says from how many sources a victim's traffic comes.
func estimate(r *rates.Record, v *rates.Target) uint64 {
	if v.Sources10s < saturated {
		return v.Sources10s
	}
	distinct := r.Sources10s
	switch v.Class {
	case schemas.ClassSYN:
		distinct = r.SYNSources10s
	case schemas.ClassSYNACK:
		distinct = r.SYNACKSources10s
	}
	return max(v.Sources10s, min(distinct, v.Packets10s))
}
