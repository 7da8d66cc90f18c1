package xdp

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"unsafe"
)

// Of sources.h.
const (
	setWays     = 4
	keyShift4   = 32
	keyUsed     = 1 << 15
	keyRetired  = 1 << 14
	slotMask    = MaxSlots - 1
	kindShift   = 6
	kindMask    = 0x1f
	kindDropped = 8
	kindPairs   = 16
	byteBits    = 40
	dirtySets   = 8
	wordSets    = dirtySets * 64 // sets that one word of the dirty map stands for
)

// What a flood cannot push out: sources that converse keep their records from
// window to window.
const (
	carryPackets = 3 // TCP packets in a window that only come after a handshake
	carryIdle    = 8 // windows of one half, so 4 s at 250 ms
	carryShare   = 4 // at most a quarter of a region's records
)

// sourceTable is the table of one family, as words: a record is its address with
// its key, or its address and its key, and its counts.
type sourceTable struct {
	family uint8
	sets   int // per region, a power of two
	stride int // words per record
	words  []uint64
	dirty  []uint64
	ages   [2][]uint8 // by record of the half: idle windows of a record that is carried over
}

func newSourceTable[S any](family uint8, sets int, table []S, dirty []uint64) sourceTable {
	n := int(unsafe.Sizeof(table[0])) / 8
	return sourceTable{
		family: family, sets: sets, stride: n / setWays, dirty: dirty,
		words: unsafe.Slice((*uint64)(unsafe.Pointer(&table[0])), n*len(table)),
	}
}

func (t *sourceTable) dirtyWords() int { return dirtyWords(t.sets) }

func dirtyWords(sets int) int { return (sets + wordSets - 1) / wordSets }

// record is one of the table, or one that was still waiting to be counted.
type record struct {
	words  [4]uint32
	key    uint16
	counts uint64 // packets and bytes, or a bitmap of port pairs
}

// at reads record i of the whole table; its key is 0 when it is free.
func (t *sourceTable) at(i int) record {
	w := t.words[i*t.stride : (i+1)*t.stride]
	if t.family == 4 {
		return record{words: [4]uint32{uint32(w[0])}, key: uint16(w[0] >> keyShift4), counts: w[1]}
	}
	return record{
		words: [4]uint32{uint32(w[0]), uint32(w[0] >> 32), uint32(w[1]), uint32(w[1] >> 32)},
		key:   uint16(w[2]), counts: w[3],
	}
}

func (r *record) packets() uint64 { return r.counts >> byteBits }
func (r *record) bytes() uint64   { return r.counts & (1<<byteBits - 1) }

func (t *sourceTable) hash(r *record, seed uint64) uint64 {
	slot := uint64(r.key & slotMask)
	if t.family == 4 {
		return mix((slot<<32 | uint64(r.words[0])) + seed)
	}
	lo := uint64(r.words[1])<<32 | uint64(r.words[0])
	hi := uint64(r.words[3])<<32 | uint64(r.words[2])
	return mix(mix(lo+seed) ^ hi ^ slot<<56)
}

func (r *record) kind() int { return int(r.key>>kindShift) & kindMask }

func (r *record) address(family uint8) netip.Addr {
	if family == 4 {
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], r.words[0])
		return netip.AddrFrom4(b)
	}
	return addr16(r.words)
}

// addTo adds the record to its source, and its packets to the interface's.
func (r *record) addTo(s *Source, totals *Counters) {
	kind := r.kind()
	if kind == kindPairs {
		s.PortPairs |= r.counts
		return
	}
	r.count(&s.Counters, kind)
	r.count(totals, kind)
}

func (r *record) count(c *Counters, kind int) {
	class := kind & (NumClasses - 1)
	packets, bytes := r.packets(), r.bytes()
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

// late is a packet that was in a buffer when the window ended.
type late struct {
	record
	set int
}

// lates returns the buffered packets of a family, by set.
func (d *Datapath) lates(t *sourceTable, half int) []late {
	var out []late
	for _, b := range d.batches[half*d.cpus : (half+1)*d.cpus] {
		for i := range min(int(b.N), len(b.Noted)) {
			e := &b.Noted[i]
			if e.Family != t.family {
				continue
			}
			r := record{words: e.Address.W, key: e.Key, counts: uint64(e.Packets)<<byteBits | uint64(e.Length)}
			set := int(uint32(t.hash(&r, d.seed))) & (t.sets - 1)
			out = append(out, late{r, set})
			if e.Pair < 64 {
				r.key = keyUsed | r.key&slotMask | kindPairs<<kindShift
				r.counts = 1 << e.Pair
				out = append(out, late{r, set})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b late) int { return cmp.Compare(a.set, b.set) })
	return out
}

// scanner joins the records of a family into sources, set by set. A source whose
// first set has had room on every CPU has all its records there, and they are
// joined on the spot; the few others meet in a hash table.
type scanner struct {
	d      *Datapath
	table  *sourceTable
	half   int
	window func(int) *Window
	lates  []late
	here   []joined // the sources of the current set
}

type joined struct {
	window *Window
	words  [4]uint32
	at     int
}

func (d *Datapath) scanSources(t *sourceTable, half int, window func(int) *Window) {
	d.merge.reset()
	s := scanner{d: d, table: t, half: half, window: window, lates: d.lates(t, half)}
	n := t.dirtyWords()
	for word := range n {
		var used uint64
		for cpu := range d.cpus {
			used |= t.dirty[(half*d.cpus+cpu)*n+word]
		}
		for i := 0; i < len(s.lates) && s.lates[i].set < (word+1)*wordSets; i++ {
			used |= 1 << (s.lates[i].set / dirtySets & 63)
		}
		for ; used != 0; used &= used - 1 {
			first := word*wordSets + bits.TrailingZeros64(used)*dirtySets
			for set := first; set < min(first+dirtySets, t.sets); set++ {
				s.set(set)
			}
		}
	}
}

// set joins the records of one set of all CPUs.
func (s *scanner) set(set int) {
	full := false
	s.here = s.here[:0]
	for cpu := range s.d.cpus {
		first := s.first(cpu, set)
		last := s.table.at(first + setWays - 1)
		full = full || last.key != 0 // ways are taken in order
	}
	for cpu := range s.d.cpus {
		first := s.first(cpu, set)
		for i := first; i < first+setWays; i++ {
			if r := s.table.at(i); r.key != 0 {
				s.add(&r, set, full)
			}
		}
	}
	for ; len(s.lates) > 0 && s.lates[0].set == set; s.lates = s.lates[1:] {
		s.add(&s.lates[0].record, set, full)
	}
}

// first is the index of a set's first record.
func (s *scanner) first(cpu, set int) int {
	return ((s.half*s.d.cpus+cpu)*s.table.sets + set) * setWays
}

func (s *scanner) add(r *record, set int, full bool) {
	w := s.window(int(r.key & slotMask))
	if w == nil || r.counts == 0 {
		return // of an interface that has gone, or carried over and idle
	}
	h := s.table.hash(r, s.d.seed)
	w.note(h, r.kind())
	if full || int(uint32(h))&(s.table.sets-1) != set {
		r.addTo(s.d.merge.source(w, r.address(s.table.family), h), &w.Totals)
		return
	}
	for i := range s.here {
		if j := &s.here[i]; j.words == r.words && j.window == w {
			r.addTo(&w.Sources[j.at], &w.Totals)
			return
		}
	}
	s.here = append(s.here, joined{w, r.words, len(w.Sources)})
	w.Sources = append(w.Sources, Source{Address: r.address(s.table.family)})
	r.addTo(&w.Sources[len(w.Sources)-1], &w.Totals)
}

// clear empties a half for the window after the next, except for the places of
// sources that converse: a flood that comes first must not push them into Other.
func (t *sourceTable) clear(half, cpus int) {
	n := t.dirtyWords()
	for region := half * cpus; region < (half+1)*cpus; region++ {
		left := t.sets * setWays / carryShare
		for word := range n {
			dirty := &t.dirty[region*n+word]
			var kept uint64
			for used := *dirty; used != 0; used &= used - 1 {
				group := bits.TrailingZeros64(used)
				first := word*wordSets + group*dirtySets
				for set := first; set < min(first+dirtySets, t.sets); set++ {
					if t.clearSet(half, region, region-half*cpus, cpus, set, &left) {
						kept |= 1 << group
					}
				}
			}
			*dirty = kept
		}
	}
}

// clearSet empties one set and reports whether a record was kept. Those move to
// the front: the program takes ways in order.
func (t *sourceTable) clearSet(half, region, cpu, cpus, set int, left *int) bool {
	first := (region*t.sets + set) * setWays
	words := t.words[first*t.stride : (first+setWays)*t.stride]
	kept := 0
	for way := range setWays {
		r := t.at(first + way)
		if r.key == 0 {
			break
		}
		age := t.age(half, cpu, cpus, set, way)
		if r.key&keyRetired != 0 || r.kind() != classTCPOther || *left == 0 || r.packets() < carryPackets && r.counts > 0 {
			continue
		}
		idle := uint8(0)
		if r.counts == 0 {
			if idle = *age + 1; idle >= carryIdle {
				continue
			}
		}
		*left--
		from, to := words[way*t.stride:(way+1)*t.stride], words[kept*t.stride:(kept+1)*t.stride]
		copy(to, from)
		to[t.stride-1] = 0
		*t.age(half, cpu, cpus, set, kept) = idle
		kept++
	}
	clear(words[kept*t.stride:])
	return kept > 0
}

func (t *sourceTable) age(half, cpu, cpus, set, way int) *uint8 {
	if t.ages[half] == nil {
		t.ages[half] = make([]uint8, cpus*t.sets*setWays)
	}
	return &t.ages[half][(cpu*t.sets+set)*setWays+way]
}
