package counts

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/weir-net/weir/schemas"
)

// scanner reads what Encoder writes straight into a Record: an aggregator decodes
// one for every window of every interface. It takes each field once, in ascending
// order and packed, as protobuf's libraries write them. Whatever else is right, or
// wrong, it leaves to decodeAny; what it accepts means the same to both.
type scanner struct {
	b   []byte
	at  int
	end int  // of the message that is being read
	bad bool // something was unexpected; from then on nothing that is read counts
}

func (s *scanner) refuse(unless bool) { s.bad = s.bad || !unless }

// uint reads a varint.
func (s *scanner) uint() uint64 {
	if s.at < s.end && s.b[s.at] < 0x80 {
		s.at++
		return uint64(s.b[s.at-1])
	}
	n, size := binary.Uvarint(s.b[s.at:s.end])
	if size <= 0 {
		s.bad, s.at = true, s.end
		return 0
	}
	s.at += size
	return n
}

// upTo reads a varint of a narrower type.
func (s *scanner) upTo(most uint64) uint64 {
	n := s.uint()
	s.refuse(n <= most)
	return n
}

// count reads a counter.
func (s *scanner) count() uint64 { return s.upTo(MaxCount) }

// bytes reads a field of bytes; they are part of the value.
func (s *scanner) bytes() []byte {
	n := s.uint()
	if n > uint64(s.end-s.at) {
		s.bad, s.at = true, s.end
		return nil
	}
	s.at += int(n)
	return s.b[s.at-int(n) : s.at]
}

func (s *scanner) text() string {
	b := s.bytes()
	s.refuse(utf8.Valid(b))
	return string(b)
}

// enter begins a message within this one, or a column, and returns what leave needs.
func (s *scanner) enter() (end int) {
	inner := s.bytes()
	end, s.end = s.end, s.at
	s.at -= len(inner)
	return end
}

// leave ends it where it was to end.
func (s *scanner) leave(end int) {
	s.refuse(s.at == s.end)
	s.at, s.end = s.end, end
}

// Wire types.
const (
	varint = 0
	packed = 2 // and bytes, and messages
)

// field reads the next tag; 0 ends the message. A field may follow itself only
// where it is repeated.
func (s *scanner) field(last uint64, repeated uint64) uint64 {
	if s.bad || s.at == s.end {
		return 0
	}
	tag := s.uint()
	s.refuse(tag>>3 > last>>3 || tag == last && tag>>3 == repeated)
	s.refuse(tag>>3 != 0)
	if s.bad {
		return 0
	}
	return tag
}

func (s *scanner) record(r *Record) {
	version := uint64(0)
	for tag := s.field(0, 0); tag != 0; tag = s.field(tag, 0) {
		switch tag {
		case 1<<3 | varint:
			version = s.uint()
		case 2<<3 | packed:
			r.Host = s.text()
		case 3<<3 | packed:
			r.Interface = s.text()
		case 4<<3 | varint:
			r.Ifindex = uint32(s.upTo(math.MaxUint32))
		case 5<<3 | packed:
			r.Direction = s.text()
		case 6<<3 | packed:
			r.BootID = s.text()
		case 7<<3 | varint:
			r.Seq = s.uint()
		case 8<<3 | varint:
			r.WindowStart = time.Unix(0, int64(s.uint())).UTC()
		case 9<<3 | varint:
			r.WindowEnd = time.Unix(0, int64(s.uint())).UTC()
		case 10<<3 | varint:
			r.Duration = time.Duration(s.uint())
		case 11<<3 | varint:
			r.Chunk = uint32(s.upTo(math.MaxUint32))
		case 12<<3 | varint:
			r.Chunks = uint32(s.upTo(math.MaxUint32))
		case 13<<3 | varint:
			r.IPv6SourcePrefixLength = uint8(s.upTo(128))
		case 14<<3 | varint:
			r.Truncated = s.upTo(1) == 1
		case 15<<3 | packed:
			r.Totals = new(Totals)
			end := s.enter()
			s.totals(r.Totals)
			s.leave(end)
		case 16<<3 | packed:
			end := s.enter()
			r.Sources = s.sources()
			s.leave(end)
		default:
			s.bad = true
		}
	}
	// A time of zero is left out, and is not the zero time.
	s.refuse(version == Version && !r.WindowStart.IsZero() && !r.WindowEnd.IsZero())
}

func (s *scanner) totals(t *Totals) {
	var names []string
	for tag := s.field(0, 6); tag != 0; tag = s.field(tag, 6) {
		switch tag {
		case 1<<3 | packed:
			s.counters(&t.Counters)
		case 2<<3 | varint:
			t.NonIP = s.count()
		case 3<<3 | varint:
			t.NonIPBytes = s.count()
		case 4<<3 | varint:
			t.Malformed = s.count()
		case 5<<3 | varint:
			t.MalformedBytes = s.count()
		case 6<<3 | packed:
			names = append(names, s.text())
			s.refuse(len(names) <= MaxVerdicts)
		case 7<<3 | packed:
			t.Verdicts = make(map[string]uint64, len(names))
			n := s.column(len(names), MaxCount, func(i int, v uint64) { t.Verdicts[names[i]] = v })
			s.refuse(n > 0)
			names = names[n:]
		case 8<<3 | packed:
			s.counters(&t.Other)
		case 9<<3 | packed:
			s.counters(&t.Tail)
		case 10<<3 | varint:
			t.TailSources = s.count()
		case 11<<3 | packed:
			t.SourcesSketch = s.sketch()
		case 12<<3 | packed:
			t.SYNSourcesSketch = s.sketch()
		case 13<<3 | packed:
			t.SYNACKSourcesSketch = s.sketch()
		case 14<<3 | packed:
			t.Victims = s.targets()
		case 15<<3 | packed:
			t.Ports = s.targets()
		default:
			s.bad = true
		}
	}
	s.refuse(len(names) == 0)
}

func (s *scanner) sketch() []byte {
	b := s.bytes()
	s.refuse(len(b) > 0 && len(b) <= MaxSketch)
	return slices.Clone(b)
}

func (s *scanner) counters(c *Counters) {
	end := s.enter()
	for tag := s.field(0, 0); tag != 0; tag = s.field(tag, 0) {
		switch tag {
		case 1<<3 | varint:
			c.Packets = s.count()
		case 2<<3 | varint:
			c.Bytes = s.count()
		case 3<<3 | packed:
			inner := s.enter()
			for i := 0; s.at < s.end && !s.bad; i++ {
				if i == schemas.NumClasses { // classes that this code does not know
					s.bad = true
					return
				}
				c.ByClass[i] = s.count()
			}
			s.leave(inner)
		case 4<<3 | varint:
			c.UDPBytes = s.count()
		case 5<<3 | varint:
			c.Dropped = s.count()
		default:
			s.bad = true
		}
	}
	s.leave(end)
}
