package window

import (
	"encoding/binary"
	"math/bits"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
)

// line is what one source or target, or the whole interface, counted in one window.
// Forty windows of every interface are remembered, and looked at again only when
// they leave a span: until then their lines lie packed, in a sixth of the memory.
type line struct {
	slot     int32
	counters counts.Counters
}

// What a line has besides its classes, as bits of its mask.
const (
	hasPackets = 1 << (schemas.NumClasses + iota)
	hasBytes
	hasUDPBytes
	hasDropped
)

// appendLine packs a line: its slot, which of its numbers are not zero, and these.
func appendLine(b []byte, x *line) []byte {
	b = binary.AppendUvarint(b, uint64(x.slot))
	at, mask := len(b), uint16(0)
	b = append(b, 0, 0)
	put := func(has uint16, n uint64) {
		if n != 0 {
			mask |= has
			b = binary.AppendUvarint(b, n)
		}
	}
	c := &x.counters
	for i, n := range c.ByClass {
		put(1<<i, n)
	}
	put(hasPackets, c.Packets)
	put(hasBytes, c.Bytes)
	put(hasUDPBytes, c.UDPBytes)
	put(hasDropped, c.Dropped)
	binary.LittleEndian.PutUint16(b[at:], mask)
	return b
}

// cursor reads what was packed.
type cursor struct {
	b  []byte
	at int
}

func (c *cursor) uint() uint64 {
	n := uint64(c.b[c.at])
	c.at++
	if n < 0x80 {
		return n
	}
	return c.more(n & 0x7f)
}

// more reads the rest of a number of several bytes.
func (c *cursor) more(n uint64) uint64 {
	for shift := 7; ; shift += 7 {
		b := c.b[c.at]
		c.at++
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n
		}
	}
}

// line unpacks the next line.
func (c *cursor) line(x *line) {
	*x = line{slot: int32(c.uint())}
	mask := binary.LittleEndian.Uint16(c.b[c.at:])
	c.at += 2
	for classes := uint8(mask); classes != 0; classes &= classes - 1 {
		x.counters.ByClass[bits.TrailingZeros8(classes)] = c.uint()
	}
	if mask&hasPackets != 0 {
		x.counters.Packets = c.uint()
	}
	if mask&hasBytes != 0 {
		x.counters.Bytes = c.uint()
	}
	if mask&hasUDPBytes != 0 {
		x.counters.UDPBytes = c.uint()
	}
	if mask&hasDropped != 0 {
		x.counters.Dropped = c.uint()
	}
}
