package capture

import (
	"encoding/binary"
	"net/netip"

	"github.com/weir-net/weir/schemas"
)

// Kind is what a frame is at all.
type Kind uint8

// The kinds.
const (
	IP        Kind = iota // IPv4 or IPv6
	NonIP                 // another EtherType
	Malformed             // too short for what it claims to be
)

// Packet is what one frame is. It is computed here with plain slices and
// without regard to speed, to be compared with what XDP makes of the frame.
type Packet struct {
	Kind        Kind
	Source      netip.Addr // of IP
	Destination netip.Addr
	Class       schemas.Class
	Bytes       int
}

// Classify says what a frame is, by the rules of the counts record.
func Classify(frame []byte) Packet {
	p := Packet{Kind: Malformed, Bytes: len(frame)}
	if len(frame) < 14 {
		return p
	}
	etherType, rest := binary.BigEndian.Uint16(frame[12:]), frame[14:]
	for range maxTags {
		if !isTag(etherType) {
			break
		}
		if len(rest) < 4 {
			return p
		}
		etherType, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
	}
	switch etherType {
	case 0x0800:
		return ipv4(p, rest)
	case 0x86dd:
		return ipv6(p, rest)
	}
	p.Kind = NonIP
	return p
}

// maxTags is how many VLAN tags the probe looks behind.
const maxTags = 3

// isTag knows 802.1Q, 802.1ad and the number in use before that.
func isTag(etherType uint16) bool {
	return etherType == 0x8100 || etherType == 0x88a8 || etherType == 0x9100
}

func ipv4(p Packet, b []byte) Packet {
	if len(b) < 20 || b[0]>>4 != 4 {
		return p
	}
	header := int(b[0]&15) * 4
	if header < 20 {
		return p
	}
	p.Kind = IP
	p.Source = netip.AddrFrom4([4]byte(b[12:16]))
	p.Destination = netip.AddrFrom4([4]byte(b[16:20]))
	if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		p.Class = schemas.ClassFragLater
		return p
	}
	// Cut short inside its options it still has a source.
	p.Class = schemas.ClassOther
	if len(b) < header {
		return p
	}
	protocol, rest := b[9], b[header:]
	if protocol == 51 { // IPsec authentication, whose inside is readable
		if len(rest) < 8 || len(rest) < int(rest[1])*4+8 {
			return p
		}
		protocol, rest = rest[0], rest[int(rest[1])*4+8:]
	}
	p.Class = transport(protocol, rest)
	return p
}

// maxExtensions is how many IPv6 extension headers the probe walks.
const maxExtensions = 6

func ipv6(p Packet, b []byte) Packet {
	if len(b) < 40 || b[0]>>4 != 6 {
		return p
	}
	p.Kind = IP
	p.Source = netip.AddrFrom16([16]byte(b[8:24]))
	p.Destination = netip.AddrFrom16([16]byte(b[24:40]))
	next, rest := b[6], b[40:]
	for range maxExtensions {
		size := 0
		switch next {
		case 0, 43, 60: // hop by hop, routing, destination options
			if len(rest) >= 2 {
				size = int(rest[1])*8 + 8
			}
		case 51: // authentication counts in words of 4, two less
			if len(rest) >= 2 {
				size = int(rest[1])*4 + 8
			}
		case 44: // fragment
			size = 8
			if len(rest) >= 8 && binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0 {
				p.Class = schemas.ClassFragLater
				return p
			}
		default:
			p.Class = transport(next, rest)
			return p
		}
		if size == 0 || len(rest) < size {
			p.Class = schemas.ClassOther
			return p
		}
		next, rest = rest[0], rest[size:]
	}
	p.Class = transport(next, rest)
	return p
}

func transport(protocol byte, b []byte) schemas.Class {
	switch {
	case protocol == 6 && len(b) >= 20:
		return tcp(b[13])
	case protocol == 17 && len(b) >= 8:
		return schemas.ClassUDP
	case protocol == 1 || protocol == 58:
		return schemas.ClassICMP
	}
	return schemas.ClassOther
}

func tcp(flags byte) schemas.Class {
	const fin, syn, rst, ack = 1, 2, 4, 16
	switch {
	case flags&(syn|ack) == syn:
		return schemas.ClassSYN
	case flags&(syn|ack) == syn|ack:
		return schemas.ClassSYNACK
	case flags&rst != 0:
		return schemas.ClassRST
	}
	return schemas.ClassTCPOther
}
