package counts

import (
	"encoding/binary"
	"math"
	"net/netip"

	"github.com/weir-net/weir/schemas"
)

// column reads a column of as many numbers as there are rows, or none, and returns
// how many there were.
func (s *scanner) column(rows int, most uint64, set func(i int, v uint64)) int {
	end := s.enter()
	i := 0
	for ; s.at < s.end && !s.bad; i++ {
		v := s.uint()
		if i >= rows || v > most {
			s.bad = true
			return 0
		}
		set(i, v)
	}
	s.leave(end)
	s.refuse(i == 0 || i == rows)
	return i
}

// bitmaps reads a column of 8 bytes each.
func (s *scanner) bitmaps(rows int, set func(i int, v uint64)) {
	b := s.bytes()
	if len(b) != 0 && len(b) != 8*rows {
		s.bad = true
		return
	}
	for i := 0; 8*i < len(b); i++ {
		set(i, binary.LittleEndian.Uint64(b[8*i:]))
	}
}

func (s *scanner) sources() []Source {
	var ipv4, ipv6 []byte
	var out []Source
	for tag := s.field(0, 0); tag != 0; tag = s.field(tag, 0) {
		switch {
		case tag == 1<<3|packed:
			ipv4 = s.bytes()
			continue
		case tag == 2<<3|packed:
			ipv6 = s.bytes()
			continue
		case tag&7 != packed || tag>>3 > 15:
			s.bad = true
			return nil
		case out == nil:
			out = s.addresses(ipv4, ipv6)
		}
		n := len(out)
		switch tag >> 3 {
		case 3:
			s.column(n, MaxCount, func(i int, v uint64) { out[i].Packets = v })
		case 4:
			s.column(n, MaxCount, func(i int, v uint64) { out[i].Bytes = v })
		case 13:
			s.column(n, MaxCount, func(i int, v uint64) { out[i].UDPBytes = v })
		case 14:
			s.column(n, MaxCount, func(i int, v uint64) { out[i].Dropped = v })
		case 15:
			s.bitmaps(n, func(i int, v uint64) { out[i].PortPairs = v })
		default:
			class := tag>>3 - 5 // the classes come in their order
			s.column(n, MaxCount, func(i int, v uint64) { out[i].ByClass[class] = v })
		}
	}
	if out == nil {
		out = s.addresses(ipv4, ipv6)
	}
	return out
}

// addresses returns a source for each.
func (s *scanner) addresses(ipv4, ipv6 []byte) []Source {
	n4 := len(ipv4) / 4
	n := n4 + len(ipv6)/16
	if len(ipv4)%4 != 0 || len(ipv6)%16 != 0 || n > MaxSources {
		s.bad = true
		return nil
	}
	if n == 0 {
		return nil
	}
	out := make([]Source, n)
	for i := range out {
		if i < n4 {
			out[i].Address = netip.AddrFrom4([4]byte(ipv4[4*i:]))
		} else {
			out[i].Address = netip.AddrFrom16([16]byte(ipv6[16*(i-n4):]))
		}
	}
	return out
}

func (s *scanner) targets() []Target {
	end := s.enter()
	out := make([]Target, s.rows())
	n, destinations := len(out), 0
	for tag := s.field(0, 1); tag != 0; tag = s.field(tag, 1) {
		switch tag {
		case 1<<3 | packed:
			b := s.bytes()
			if destinations == n {
				s.bad = true
				return nil
			}
			if len(b) > 0 {
				a, ok := netip.AddrFromSlice(b)
				s.refuse(ok)
				out[destinations].Destination = a
			}
			destinations++
		case 2<<3 | packed:
			s.column(n, math.MaxUint32, func(i int, v uint64) { out[i].Class = schemas.Class(min(v, uint64(schemas.ClassOther))) })
		case 3<<3 | packed:
			s.column(n, math.MaxUint8, func(i int, v uint64) { out[i].Protocol = uint8(v) })
		case 4<<3 | packed:
			s.column(n, math.MaxUint16, func(i int, v uint64) { out[i].Port = uint16(v) })
		case 5<<3 | packed:
			s.column(n, MaxCount, func(i int, v uint64) { out[i].Packets = v })
		case 6<<3 | packed:
			s.column(n, MaxCount, func(i int, v uint64) { out[i].Bytes = v })
		case 7<<3 | packed:
			s.column(n, MaxCount, func(i int, v uint64) { out[i].Dropped = v })
		case 8<<3 | packed:
			s.bitmaps(n, func(i int, v uint64) { out[i].SourceBits = v })
		default:
			s.bad = true
		}
	}
	s.leave(end)
	s.refuse(n > 0 && (destinations == 0 || destinations == n))
	return out
}

// rows looks ahead for how many packets a table of targets has: the column that
// says how many rows there are is not the first.
func (s *scanner) rows() int {
	begin := s.at
	defer func() { s.at = begin }()
	for !s.bad && s.at < s.end {
		tag := s.uint()
		b := s.bytes()
		if tag != 5<<3|packed {
			continue
		}
		n := 0
		for _, x := range b {
			if x < 0x80 { // the last byte of a varint
				n++
			}
		}
		s.refuse(n <= MaxTargets)
		return min(n, MaxTargets)
	}
	return 0
}
