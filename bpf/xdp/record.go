package xdp

import (
	"encoding/binary"
	"net/netip"
)

// record is one kind of packets of one source: one of a table, or a packet that was
// still waiting to be counted, or several of them joined.
type record struct {
	address [2]uint64 // of IPv4, the lower half of the first
	counts  uint64    // packets and bytes, or a bitmap of port pairs
	key     uint32
}

func (r *record) packets() uint64 { return r.counts >> byteBits }
func (r *record) bytes() uint64   { return r.counts & (1<<byteBits - 1) }
func (r *record) kind() int       { return int(r.key>>kindShift) & kindMask }
func (r *record) slot() int       { return int(r.key & slotMask) }

// pairs returns the record of the same source that has a bitmap of port pairs.
func (r *record) pairs(bits uint64) record {
	key := r.key&(keyFamily6|keyUsed|slotMask) | kindPairs<<kindShift
	return record{address: r.address, counts: bits, key: key}
}

// isSource reports whether two records of one family are of one source.
func (r *record) isSource(o *record) bool {
	return r.address == o.address && (r.key^o.key)&slotMask == 0
}

// join adds o, which is of the same source and kind, and reports whether there was
// room for it.
func (r *record) join(o *record) bool {
	sum, ok := joinCounts(uint64(r.key), r.counts, o.counts)
	if ok {
		r.counts = sum
	}
	return ok
}

// joinCounts joins the counts of two records of one source and kind, whose key this is,
// and reports whether there was room for that.
func joinCounts(key, a, b uint64) (uint64, bool) {
	if key>>kindShift&kindPairs != 0 {
		return a | b, true
	}
	return a + b, (a|b)&fullCounts == 0
}

func (r *record) addr() netip.Addr {
	var b [16]byte
	binary.NativeEndian.PutUint32(b[:], uint32(r.address[0]))
	if r.key&keyFamily6 == 0 {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	for i := range 4 {
		binary.NativeEndian.PutUint32(b[4*i:], uint32(r.address[i/2]>>(i%2*32)))
	}
	return netip.AddrFrom16(b)
}

// addTo adds the record to its source.
func (r *record) addTo(s *Source) {
	if kind := r.kind(); kind == kindPairs {
		s.PortPairs |= r.counts
	} else {
		s.add(kind, r.packets(), r.bytes())
	}
}

// add counts packets of one kind.
func (c *Counters) add(kind int, packets, bytes uint64) {
	class := kind & (NumClasses - 1)
	c.Packets += packets
	c.ByClass[class] += packets
	c.Bytes += bytes
	if class == classUDP {
		c.UDPBytes += bytes
	}
	if kind&kindDropped != 0 {
		c.Dropped += packets
	}
}

// conversed returns the packets that only come after a handshake.
func (r *record) conversed() uint64 {
	if r.kind()&^kindDropped != classTCPOther {
		return 0
	}
	return r.packets()
}
