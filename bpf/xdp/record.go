package xdp

import (
	"encoding/binary"
	"iter"
	"net/netip"
)

// record is one kind of packets of one source: one of a table, or a packet that was
// still waiting to be counted, or several of them joined.
type record struct {
	address [2]uint64 // of IPv4, the lower half of the first
	counts  uint64    // packets and bytes, or a bitmap of port pairs
	key     uint32
	home    uint32 // the set where its source's records are joined
}

func (r *record) packets() uint64 { return r.counts >> byteBits }
func (r *record) bytes() uint64   { return r.counts & (1<<byteBits - 1) }
func (r *record) kind() int       { return int(r.key>>kindShift) & kindMask }
func (r *record) slot() int       { return int(r.key & slotMask) }

// isSource reports whether two records of one family are of one source.
func (r *record) isSource(o *record) bool {
	return r.address == o.address && (r.key^o.key)&slotMask == 0
}

// join adds o, which is of the same source and kind, and reports whether there was
// room for it.
func (r *record) join(o *record) bool {
	if r.kind() == kindPairs {
		r.counts |= o.counts
		return true
	}
	const full = 1<<63 | 1<<(byteBits-1) // half of what either count can hold
	if (r.counts|o.counts)&full != 0 {
		return false
	}
	r.counts += o.counts
	return true
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

// Sources are the sources of one window. A flood has a million, of which few are
// ever looked at by name: they stay as small as they were counted until then.
type Sources struct {
	records []record // those of a source follow each other
	starts  []uint32 // by source: its first record
	list    []Source // of SourcesOf
}

// SourcesOf returns sources that did not come from a data plane.
func SourcesOf(list []Source) Sources { return Sources{list: list} }

// Len returns how many there are.
func (s *Sources) Len() int { return len(s.starts) + len(s.list) }

// At returns source i, from 0 to Len-1.
func (s *Sources) At(i int) (source Source) {
	s.read(i, &source)
	return source
}

// All returns the sources with their positions. What a position yields is
// overwritten by the next.
func (s *Sources) All() iter.Seq2[int, *Source] {
	return func(yield func(int, *Source) bool) {
		var source Source
		for i := range s.Len() {
			s.read(i, &source)
			if !yield(i, &source) {
				return
			}
		}
	}
}

func (s *Sources) read(i int, into *Source) {
	if i >= len(s.starts) {
		*into = s.list[i-len(s.starts)]
		return
	}
	end := len(s.records)
	if i+1 < len(s.starts) {
		end = int(s.starts[i+1])
	}
	records := s.records[s.starts[i]:end]
	*into = Source{Address: records[0].addr()}
	for j := range records {
		records[j].addTo(into)
	}
}

// reset empties it, and keeps the memory for the next window unless that was a
// flood's which is over.
func (s *Sources) reset() {
	if cap(s.records) > 1<<16 && cap(s.records) > 8*len(s.records) {
		*s = Sources{}
	}
	s.records, s.starts = s.records[:0], s.starts[:0]
}
