package xdp

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
)

// dissected is what the contract says about a frame.
type dissected struct {
	packetModel
	class int // of schemas.Class, or cNonIP, or cMalformed
}

// dissect parses a frame the way ARCHITECTURE.md and the frame table say, in Go and
// without looking at parse.h: slices instead of pointers, recursion instead of
// bounds.
func dissect(f frame) dissected {
	d := dissected{packetModel: packetModel{frame: f}, class: cMalformed}
	etherType, rest, tags := binary.BigEndian.Uint16(f[12:]), f[14:], 0
	for (etherType == 0x8100 || etherType == 0x88a8 || etherType == 0x9100) && tags < 3 {
		if len(rest) < 4 {
			return d
		}
		etherType, rest = binary.BigEndian.Uint16(rest[2:]), rest[4:]
		tags++
	}
	switch etherType {
	case 0x0800:
		d.ipv4(rest)
	case 0x86dd:
		d.ipv6(rest)
	default:
		d.class = cNonIP
	}
	return d
}

func (d *dissected) ipv4(b []byte) {
	if len(b) < 20 || b[0]>>4 != 4 || b[0]&15 < 5 {
		return
	}
	d.class = cOther
	d.source, _ = netip.AddrFromSlice(b[12:16])
	d.destination, _ = netip.AddrFromSlice(b[16:20])
	d.protocol = b[9]
	if binary.BigEndian.Uint16(b[6:])&0x1fff != 0 {
		d.class, d.laterFragment = cFragLater, true
		return
	}
	header := int(b[0]&15) * 4
	if len(b) < header {
		return // the options are cut short, and so is what follows
	}
	b = b[header:]
	if d.protocol == 51 { // one authentication header, as IPsec has it
		var whole bool
		if b, whole = d.extension(b, 4, 8); !whole {
			return
		}
	}
	d.transport(b)
}

func (d *dissected) ipv6(b []byte) {
	if len(b) < 40 || b[0]>>4 != 6 {
		return
	}
	d.class = cOther
	d.source, _ = netip.AddrFromSlice(b[8:24])
	d.destination, _ = netip.AddrFromSlice(b[24:40])
	d.protocol = b[6]
	b = b[40:]
	for range 6 {
		var whole bool
		switch d.protocol {
		case 0, 43, 60:
			b, whole = d.extension(b, 8, 8)
		case 51:
			b, whole = d.extension(b, 4, 8)
		case 44:
			if len(b) >= 8 && binary.BigEndian.Uint16(b[2:])&0xfff8 != 0 {
				d.protocol, d.class, d.laterFragment = b[0], cFragLater, true
				return
			}
			b, whole = d.extension(b, 0, 8)
		default:
			d.transport(b)
			return
		}
		if !whole {
			return
		}
	}
	d.transport(b) // a seventh extension is no transport: class other
}

// extension steps over an extension header of least bytes and as many units more
// as its second byte says. One whose beginning is there names the next protocol.
func (d *dissected) extension(b []byte, unit, least int) (rest []byte, whole bool) {
	if len(b) < least {
		return nil, false
	}
	d.protocol = b[0]
	length := least + int(b[1])*unit
	if len(b) < length {
		return nil, false
	}
	return b[length:], true
}

func (d *dissected) transport(b []byte) {
	switch {
	case d.protocol == 1 || d.protocol == 58:
		d.class = cICMP
	case d.protocol == 17 && len(b) >= 8:
		d.class = cUDP
	case d.protocol == 6 && len(b) >= 20:
		d.flags = b[13]
		switch syn, ack := d.flags&2 != 0, d.flags&16 != 0; {
		case syn && ack:
			d.class = cSYNACK
		case syn:
			d.class = cSYN
		case d.flags&4 != 0:
			d.class = cRST
		default:
			d.class = cTCPOther
		}
	default:
		return
	}
	if d.class != cICMP {
		d.sport, d.dport = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	}
}

// frames makes frames that are mostly sane and often not.
type frames struct {
	*rand.Rand
	wide bool // sources from all over, to fill tables; else a few
}

func (g *frames) pick(of ...int) int { return of[g.IntN(len(of))] }

func (g *frames) address(v6 bool) string {
	if !v6 {
		if g.wide {
			return netip.AddrFrom4([4]byte{10, 0, byte(g.IntN(8)), byte(g.IntN(256))}).String()
		}
		return netip.AddrFrom4([4]byte{203, 0, 113, byte(g.IntN(8))}).String()
	}
	b := netip.MustParseAddr("2001:db8::").As16()
	switch {
	case g.IntN(8) == 0:
		b = netip.MustParseAddr([]string{"fe80::", "::ffff:0.0.0.0", "ff02::", "2001:db8:0:80::"}[g.IntN(4)]).As16()
	case g.wide:
		b[6] = byte(g.IntN(256))
	}
	b[7], b[15] = byte(g.IntN(2)), byte(g.IntN(8))
	return netip.AddrFrom16(b).String()
}

func (g *frames) frame() frame {
	var f frame
	v6 := g.IntN(2) == 0
	etherType := uint16(g.pick(0x0800, 0x0800, 0x0800, 0x0806, 0x8847, 0x88cc, 40))
	if g.IntN(8) > 0 {
		etherType = uint16(0x0800)
		if v6 {
			etherType = 0x86dd
		}
	}
	types := []uint16{etherType}
	for range g.pick(0, 0, 0, 0, 1, 1, 2, 3, 4) {
		types = append([]uint16{uint16(g.pick(0x8100, 0x88a8, 0x9100))}, types...)
	}
	f = ethernet(types[0])
	for _, t := range types[1:] {
		f = f.vlan(t)
	}
	if v6 {
		f = g.ipv6(f)
	} else {
		f = g.ipv4(f)
	}
	return g.mutate(g.payload(f))
}

// next is a protocol number: the common ones most often, extension headers too.
func (g *frames) next() byte {
	if g.IntN(16) == 0 {
		return byte(g.IntN(256))
	}
	return byte(g.pick(6, 6, 6, 6, 17, 17, 1, 58, 51, 47, 134, 145, 0, 44))
}

func (g *frames) ipv4(f frame) frame {
	proto := g.next()
	at := len(f)
	f = f.ipv4(g.address(false), g.address(false), proto, uint16(g.pick(0, 0, 0, 0, 0x4000, 0x2000, 0x2001, 1, 185, 0x1fff)))
	if g.IntN(8) == 0 {
		words := g.IntN(11)
		f[at] = byte(0x45 + words)
		f = f.bytes(4 * words)
	}
	if proto == 51 {
		proto = g.next()
		f = g.authentication(f, proto)
	}
	return g.transport(f, proto)
}

func (g *frames) authentication(f frame, next byte) frame {
	words := g.IntN(6)
	return append(f, next, byte(words), 0, 0, 0, 0, 0, 1).bytes(4 * words)
}

func (g *frames) ipv6(f frame) frame {
	chain := []byte{}
	for range g.pick(0, 0, 0, 0, 1, 1, 2, 3, 5, 6, 7, 8) {
		chain = append(chain, byte(g.pick(0, 43, 44, 51, 60)))
	}
	last := g.next()
	chain = append(chain, last)
	f = f.ipv6(g.address(true), g.address(true), chain[0])
	for i, kind := range chain[:len(chain)-1] {
		switch kind {
		case 44:
			f = f.fragment(chain[i+1], uint16(g.pick(0, 0, 0, 1, 185, 8191)))
		case 51:
			f = g.authentication(f, chain[i+1])
		default:
			units := g.pick(0, 0, 0, 1, 3, 31)
			f = append(f, chain[i+1], byte(units)).bytes(6 + 8*units)
		}
	}
	return g.transport(f, last)
}

func (g *frames) transport(f frame, proto byte) frame {
	sport, dport := uint16(g.pick(0, 1, 2, 53, 123, 65535)), uint16(g.pick(0, 80, 81, 443))
	if g.wide {
		dport = uint16(g.IntN(1 << 16))
	}
	switch proto {
	case 6:
		return f.tcp(sport, dport, byte(g.pick(2, 2, 2, 0x12, 0x10, 0x10, 0x18, 4, 0x14, 0, 6, 0xc2, g.IntN(256))))
	case 17:
		return f.udp(sport, dport, 0)
	}
	return f.bytes(g.IntN(24))
}

// payload makes frames as long as wires carry: up to a jumbo's 9,000 bytes.
func (g *frames) payload(f frame) frame {
	switch g.IntN(16) {
	case 0:
		return f.bytes(g.IntN(1500))
	case 1:
		return f.bytes(3300 + g.IntN(5700))
	}
	return f.bytes(g.IntN(40))
}

// mutate cuts frames short and turns bytes over.
func (g *frames) mutate(f frame) frame {
	if g.IntN(6) == 0 {
		f = f[:14+g.IntN(min(len(f)-14, 120)+1)]
	}
	if g.IntN(6) == 0 {
		for range 1 + g.IntN(4) {
			f[12+g.IntN(min(len(f)-12, 100))] = byte(g.IntN(256))
		}
	}
	return f
}
