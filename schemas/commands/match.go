package commands

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/weir-net/weir/schemas"
)

// The names of a match's fields, in JSON and in keys, in canonical order.
const (
	fieldSource          = "source"
	fieldDestination     = "destination"
	fieldProtocol        = "protocol"
	fieldSourcePort      = "source_port"
	fieldDestinationPort = "destination_port"
	fieldTCPFlags        = "tcp_flags"
	fieldFragments       = "fragments"
)

// laterFragments is the only value of the field fragments.
const laterFragments = "later"

// The protocols that matches treat specially.
const (
	protocolTCP     = 6
	protocolUDP     = 17
	protocolSCTP    = 132
	protocolUDPLite = 136
)

// String returns the canonical text that keys carry: the bare prefix if only
// Source is set, else the fields that are set, "name=value" in canonical order
// and joined by commas.
func (m Match) String() string { return string(m.appendTo(nil)) }

func (m Match) appendTo(b []byte) []byte {
	if m.Source.IsValid() && m == (Match{Source: m.Source}) {
		return m.Source.AppendTo(b)
	}
	start := len(b)
	if m.Source.IsValid() {
		b = appendName(b, start, fieldSource)
		b = m.Source.AppendTo(b)
	}
	if m.Destination.IsValid() {
		b = appendName(b, start, fieldDestination)
		b = m.Destination.AppendTo(b)
	}
	if m.Protocol != 0 {
		b = appendName(b, start, fieldProtocol)
		b = append(b, schemas.FormatProtocol(m.Protocol)...)
	}
	if m.SourcePort != 0 {
		b = appendName(b, start, fieldSourcePort)
		b = strconv.AppendUint(b, uint64(m.SourcePort), 10)
	}
	if m.DestinationPort != 0 {
		b = appendName(b, start, fieldDestinationPort)
		b = strconv.AppendUint(b, uint64(m.DestinationPort), 10)
	}
	if m.TCPFlags != (TCPFlags{}) {
		b = appendName(b, start, fieldTCPFlags)
		b = append(b, m.TCPFlags.String()...)
	}
	if m.Fragments {
		b = appendName(b, start, fieldFragments)
		b = append(b, laterFragments...)
	}
	return b
}

// appendName begins a field of a match that starts at b[start].
func appendName(b []byte, start int, name string) []byte {
	if len(b) > start {
		b = append(b, ',')
	}
	return append(append(b, name...), '=')
}

// Check reports why m cannot be a lease's match.
func (m Match) Check() error {
	switch {
	case !m.Source.IsValid() && !m.Destination.IsValid():
		return schemas.Refuse(schemas.FaultField, "match: want a source, a destination or both")
	case m.Source.IsValid() && m.Destination.IsValid() && m.Source.Addr().Is4() != m.Destination.Addr().Is4():
		return schemas.Refuse(schemas.FaultField, "match: source %v and destination %v are of different families", m.Source, m.Destination)
	case m.TCPFlags.Value&^m.TCPFlags.Mask != 0:
		return schemas.Refuse(schemas.FaultField, "match: tcp_flags value %#x lies outside the mask %#x", m.TCPFlags.Value, m.TCPFlags.Mask)
	case m.Fragments && (m.SourcePort != 0 || m.DestinationPort != 0 || m.TCPFlags != (TCPFlags{})):
		return schemas.Refuse(schemas.FaultField, "match: later fragments have no ports and no tcp_flags")
	case m.TCPFlags != (TCPFlags{}) && m.Protocol != protocolTCP:
		return schemas.Refuse(schemas.FaultField, "match: tcp_flags needs protocol tcp")
	case (m.SourcePort != 0 || m.DestinationPort != 0) && !hasPorts(m.Protocol):
		return schemas.Refuse(schemas.FaultField, "match: a port needs protocol tcp, udp, udplite or sctp")
	}
	for _, p := range [...]netip.Prefix{m.Source, m.Destination} {
		if p.IsValid() && (p != p.Masked() || p.Addr().Is4In6()) {
			return schemas.Refuse(schemas.FaultField, "match: %v is not masked, or not a plain address", p)
		}
	}
	return nil
}

func hasPorts(protocol uint8) bool {
	switch protocol {
	case protocolTCP, protocolUDP, protocolUDPLite, protocolSCTP:
		return true
	}
	return false
}

// ParseMatch parses the canonical text; any other spelling is an error that
// names the canonical one.
func ParseMatch(s string) (Match, error) {
	var m Match
	if !strings.Contains(s, "=") {
		var err error
		if m.Source, err = ParsePrefix(s); err != nil {
			return Match{}, err
		}
	} else {
		for part := range strings.SplitSeq(s, ",") {
			name, value, ok := strings.Cut(part, "=")
			if !ok {
				return Match{}, schemas.Refuse(schemas.FaultKey, "match %q: %q is not name=value", s, part)
			}
			if err := m.set(name, value); err != nil {
				return Match{}, err
			}
		}
	}
	if err := m.Check(); err != nil {
		return Match{}, err
	}
	var room [256]byte
	if string(m.appendTo(room[:0])) != s {
		return Match{}, schemas.Refuse(schemas.FaultKey, "match %q: write it %q", s, m.String())
	}
	return m, nil
}

// set reads one field from its text.
func (m *Match) set(name, value string) (err error) {
	switch name {
	case fieldSource:
		m.Source, err = ParsePrefix(value)
	case fieldDestination:
		m.Destination, err = ParsePrefix(value)
	case fieldProtocol:
		m.Protocol, err = schemas.ParseProtocol(value)
	case fieldSourcePort:
		m.SourcePort, err = parsePort(name, value)
	case fieldDestinationPort:
		m.DestinationPort, err = parsePort(name, value)
	case fieldTCPFlags:
		m.TCPFlags, err = ParseTCPFlags(value)
	case fieldFragments:
		if m.Fragments = value == laterFragments; !m.Fragments {
			err = schemas.Refuse(schemas.FaultField, "fragments %q: want %s", value, laterFragments)
		}
	default:
		// A field that this code does not know narrows the match: ignoring it
		// would cover packets that the issuer did not mean.
		err = schemas.Refuse(schemas.FaultField, "match: unknown field %q", name)
	}
	return err
}

func parsePort(name, value string) (uint16, error) {
	p, err := strconv.ParseUint(value, 10, 16)
	if err != nil || p == 0 {
		return 0, schemas.Refuse(schemas.FaultField, "%s %q: want 1 to 65535", name, value)
	}
	return uint16(p), nil
}

// ParsePrefix reads a masked prefix, or a bare address as its /32 or /128.
// Host bits, zones and IPv4-mapped addresses are errors.
func ParsePrefix(s string) (netip.Prefix, error) {
	if len(s) > 64 {
		return netip.Prefix{}, schemas.Refuse(schemas.FaultField, "%q is no address or prefix", schemas.Printable(s, 64))
	}
	var p netip.Prefix
	if strings.Contains(s, "/") {
		var err error
		if p, err = netip.ParsePrefix(s); err != nil {
			return netip.Prefix{}, schemas.Refuse(schemas.FaultField, "%q is no address or prefix", s)
		}
	} else {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, schemas.Refuse(schemas.FaultField, "%q is no address or prefix", s)
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, schemas.Refuse(schemas.FaultField, "%q is an IPv4 address in IPv6 clothes, write it as IPv4", s)
	}
	if p != p.Masked() {
		return netip.Prefix{}, schemas.Refuse(schemas.FaultField, "%q has bits beyond its length, did you mean %v?", s, p.Masked())
	}
	return p, nil
}
