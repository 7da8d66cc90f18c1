package xdp

import (
	"encoding/binary"
	"net/netip"
)

// frame builds test frames layer by layer, front to back.
type frame []byte

func ethernet(etherType uint16) frame {
	f := frame{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	return binary.BigEndian.AppendUint16(f, etherType)
}

func (f frame) vlan(etherType uint16) frame {
	f = append(f, 0, 100)
	return binary.BigEndian.AppendUint16(f, etherType)
}

func (f frame) ipv4(src, dst string, protocol byte, fragment uint16) frame {
	f = append(f, 0x45, 0, 0, 40, 0, 1, byte(fragment>>8), byte(fragment), 64, protocol, 0, 0)
	f = append(f, addr(src)...)
	return append(f, addr(dst)...)
}

func (f frame) ipv6(src, dst string, next byte) frame {
	f = append(f, 0x60, 0, 0, 0, 0, 40, next, 64)
	f = append(f, addr(src)...)
	return append(f, addr(dst)...)
}

// extension appends an 8-byte extension header (hop-by-hop, routing, options).
func (f frame) extension(next byte) frame { return append(f, next, 0, 0, 0, 0, 0, 0, 0) }

func (f frame) fragment(next byte, offset uint16) frame {
	return append(f, next, 0, byte(offset>>5), byte(offset<<3), 0, 0, 0, 1)
}

func (f frame) ah(next byte) frame { return append(f, next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1) }

func (f frame) tcp(sport, dport uint16, flags byte) frame {
	f = binary.BigEndian.AppendUint16(f, sport)
	f = binary.BigEndian.AppendUint16(f, dport)
	return append(f, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 1, 0, 0, 0, 0, 0)
}

func (f frame) udp(sport, dport uint16, payload int) frame {
	f = binary.BigEndian.AppendUint16(f, sport)
	f = binary.BigEndian.AppendUint16(f, dport)
	f = append(f, 0, byte(8+payload), 0, 0)
	return append(f, make([]byte, payload)...)
}

func (f frame) bytes(n int) frame { return append(f, make([]byte, n)...) }

func addr(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func synFrom(src string) frame {
	return ethernet(0x0800).ipv4(src, "198.51.100.1", 6, 0).tcp(1234, 80, flagSYN)
}
