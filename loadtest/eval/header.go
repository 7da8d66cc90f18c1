package eval

import (
	"encoding/binary"
	"net/netip"
)

const (
	protocolTCP = 6
	protocolUDP = 17
)

// header is what the evaluation reads of a frame, and where it stands, so that
// the frame can be addressed to somebody else.
type header struct {
	source, destination         netip.Addr // invalid: not IP
	protocol                    uint8      // behind no extension header
	later                       bool       // a fragment that is not the first
	ports                       bool       // the ports were there to be read
	sourcePort, destinationPort uint16

	network, transport int // offsets of the headers
}

// parse reads a frame behind up to three VLAN tags.
func parse(b []byte) header {
	const ethernet, tag = 14, 4
	if len(b) < ethernet {
		return header{}
	}
	at := ethernet
	kind := binary.BigEndian.Uint16(b[12:])
	for range 3 {
		if kind != 0x8100 && kind != 0x88a8 && kind != 0x9100 || len(b) < at+tag {
			break
		}
		kind = binary.BigEndian.Uint16(b[at+2:])
		at += tag
	}
	h := header{network: at}
	ip := b[at:]
	switch {
	case kind == 0x0800 && len(ip) >= 20 && ip[0]>>4 == 4 && ip[0]&15 >= 5:
		h.source, h.destination = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		h.protocol = ip[9]
		h.later = binary.BigEndian.Uint16(ip[6:])&0x1fff != 0
		h.transport = at + int(ip[0]&15)*4
	case kind == 0x86dd && len(ip) >= 40 && ip[0]>>4 == 6:
		h.source, h.destination = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		h.protocol = ip[6]
		h.transport = at + 40
	default:
		return header{}
	}
	if (h.protocol == protocolTCP || h.protocol == protocolUDP) && !h.later && len(b) >= h.transport+4 {
		h.ports = true
		h.sourcePort = binary.BigEndian.Uint16(b[h.transport:])
		h.destinationPort = binary.BigEndian.Uint16(b[h.transport+2:])
	}
	return h
}

// readdress returns a copy of a frame with other addresses of the same family
// and, unless it is 0, another TCP destination port. The IPv4 checksum is made
// anew; that of TCP is not, since nothing between the wire and XDP looks at it.
func readdress(b []byte, h *header, source, destination netip.Addr, port uint16) []byte {
	out := append([]byte(nil), b...)
	ip := out[h.network:]
	if h.source.Is4() {
		copy(ip[12:], source.AsSlice())
		copy(ip[16:], destination.AsSlice())
		size := int(ip[0]&15) * 4
		ip[10], ip[11] = 0, 0
		if len(ip) >= size {
			binary.BigEndian.PutUint16(ip[10:], checksum(ip[:size]))
		}
	} else {
		copy(ip[8:], source.AsSlice())
		copy(ip[24:], destination.AsSlice())
	}
	if port != 0 && h.protocol == protocolTCP && h.ports {
		binary.BigEndian.PutUint16(out[h.transport+2:], port)
	}
	return out
}

// checksum is the Internet checksum of an IPv4 header.
func checksum(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
