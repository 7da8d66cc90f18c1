package xdp

import (
	"math/bits"
	"net/netip"
	"slices"
)

// scanner reads the records of an ended window: once in the tables, to count them and
// to copy those in use, and once more to join those of each source.
//
// A source has its records in one set, its home, on every CPU that saw it: so the
// sources of a few neighbouring sets, a group, are joined among themselves, in a
// table that stays in the processor's nearest memory. Where the home was full on a
// CPU, records are elsewhere. The first reading finds these strays, and the second
// joins them where they belong.
type scanner struct {
	windows [MaxSlots]*Window // nil: of an interface that has gone
	tallies [MaxSlots]tally
	tables  [2]tableScan

	here       []joined // the records of one group
	index      []uint32 // by hash: a source's first record in here, plus one
	conversing []netip.Addr
}

// joined is a record of the group that is being joined.
type joined struct {
	record
	next  uint32 // the source's next record in here, plus one
	first bool   // it is the source's first
}

// tableScan is what the first reading of a table leaves for the second.
type tableScan struct {
	used   []uint64 // groups of sets in use, as in sourceTable.dirty
	words  []uint64 // their records, as in the table, by group
	ends   []int    // by group in use: where its records in words end
	strays []record
	next   []int32  // by stray: the next with the same home, plus one
	first  []int32  // by group: its first stray, plus one; 0: none
	homes  []uint64 // groups that have strays, like used
}

// begin prepares for a half's windows.
func (s *scanner) begin(windows []Window) {
	s.windows = [MaxSlots]*Window{}
	for i := range windows {
		s.windows[windows[i].Slot] = &windows[i]
	}
	clear(s.tallies[:])
	s.conversing = s.conversing[:0]
}

// count is the first reading: totals, sketches, and what is not at home.
func (d *Datapath) count(t *sourceTable, half int) {
	x := &d.scanner.tables[t.number()]
	x.reset(t, d.dirtyOf(t, half))
	for word, used := range x.used {
		for ; used != 0; used &= used - 1 {
			first := word*wordSets + bits.TrailingZeros64(used)*dirtySets
			for cpu := range d.cpus {
				d.countGroup(t, x, t.setsOf(half*d.cpus+cpu, first), first)
			}
			x.ends = append(x.ends, len(x.words))
		}
	}
	d.countLate(t, x, half)
}

// dirtyOf returns which groups of sets any CPU has used.
func (d *Datapath) dirtyOf(t *sourceTable, half int) []uint64 {
	n := t.dirtyWords()
	used := d.scanner.tables[t.number()].used[:0]
	for word := range n {
		var all uint64
		for cpu := range d.cpus {
			all |= t.dirty[(half*d.cpus+cpu)*n+word]
		}
		used = append(used, all)
	}
	return used
}

func (x *tableScan) reset(t *sourceTable, used []uint64) {
	if x.first == nil {
		x.first = make([]int32, (t.sets+dirtySets-1)/dirtySets)
		x.homes = make([]uint64, t.dirtyWords())
	}
	for i := range x.strays {
		x.first[x.strays[i].home] = 0
	}
	clear(x.homes)
	if cap(x.words) > 1<<16 && cap(x.words) > 8*len(x.words) {
		x.words = nil // the memory of a flood that is over
	}
	x.used, x.words, x.ends, x.strays, x.next = used, x.words[:0], x.ends[:0], x.strays[:0], x.next[:0]
}

// countGroup counts a group of sets of one CPU, and copies what is at home.
func (d *Datapath) countGroup(t *sourceTable, x *tableScan, words []uint64, first int) {
	s := &d.scanner
	begin := len(x.words)
	x.words = compact(x.words, words, t.stride, t.keyAt)
	taken, kept := x.words[begin:], 0
	for i := 0; i < len(taken); i += t.stride {
		key, counts := taken[i+t.keyAt]>>t.keyShift, taken[i+t.stride-1]
		slot := key & slotMask
		if s.windows[slot] == nil || counts == 0 {
			continue // of an interface that has gone, or carried over and idle
		}
		h := t.hashAt(taken, i, d.seed)
		s.tallies[slot].add(h, key, counts)
		if home := t.home(h); home/dirtySets != first/dirtySets {
			x.stray(t.read(taken, i), home/dirtySets)
			continue
		}
		if kept != i {
			copy(taken[kept:kept+t.stride], taken[i:i+t.stride])
		}
		kept += t.stride
	}
	x.words = x.words[:begin+kept]
}

// compact appends the records that are in use. How many of a set are cannot be
// predicted, so it asks by arithmetic: a wrong guess would cost more than a copy.
func compact(to, from []uint64, stride, keyAt int) []uint64 {
	n := len(to)
	to = slices.Grow(to, len(from))[:n+len(from)]
	at := to[n:]
	if stride == 2 {
		for ; len(from) >= 2 && len(at) >= 2; from = from[2:] {
			at[0], at[1] = from[0], from[1]
			at = at[2*inUse(from[0]):]
		}
	} else {
		for ; len(from) >= 4 && len(at) >= 4; from = from[4:] {
			at[0], at[1], at[2], at[3] = from[0], from[1], from[2], from[3]
			at = at[4*inUse(from[keyAt]):]
		}
	}
	return to[:len(to)-len(at)]
}

// inUse returns 1 for a word that is not 0.
func inUse(word uint64) uint64 { return (word | -word) >> 63 }

// tally is what one interface's records add up to.
type tally struct {
	kinds    [kindMask + 1]struct{ packets, bytes uint64 }
	sketches *sketches
}

// add counts a record of the source with a hash.
func (s *tally) add(hash, key, counts uint64) {
	kind := key >> kindShift & kindMask
	sum := &s.kinds[kind]
	sum.packets += counts >> byteBits
	sum.bytes += counts & (1<<byteBits - 1)
	if s.sketches == nil {
		s.sketches = &sketches{}
	}
	s.sketches.note(hash, int(kind))
}

// stray keeps a record for the group where it belongs.
func (x *tableScan) stray(r record, home int) {
	r.home = uint32(home)
	x.strays = append(x.strays, r)
	x.next = append(x.next, x.first[home])
	x.first[home] = int32(len(x.strays))
	x.homes[home/64] |= 1 << (home & 63)
}

// total writes what the first reading counted.
func (s *scanner) total() {
	for slot, w := range s.windows {
		if w == nil {
			continue
		}
		for kind, sum := range s.tallies[slot].kinds[:kindPairs] {
			w.Totals.add(kind, sum.packets, sum.bytes)
		}
		w.sketches = s.tallies[slot].sketches
	}
}

// joinTable is the second reading: the sources, group by group.
func (d *Datapath) joinTable(t *sourceTable) {
	s := &d.scanner
	x := &s.tables[t.number()]
	begin, groups := 0, 0
	for word, used := range x.used {
		for all := used | x.homes[word]; all != 0; all &= all - 1 {
			bit := bits.TrailingZeros64(all)
			end := begin
			if used>>bit&1 != 0 {
				end = x.ends[groups]
				groups++
			}
			n := (end - begin) / t.stride
			for i := x.first[word*64+bit]; i != 0; i = x.next[i-1] {
				n++
			}
			s.open(n)
			for i := begin; i < end; i += t.stride {
				r := t.read(x.words, i)
				s.meet(&r, t.hash(&r, d.seed))
			}
			for i := x.first[word*64+bit]; i != 0; i = x.next[i-1] {
				r := &x.strays[i-1]
				s.meet(r, t.hash(r, d.seed))
			}
			s.emit()
			begin = end
		}
	}
}

// emit appends the sources of a group to their windows.
func (s *scanner) emit() {
	for i := range s.here {
		r := &s.here[i]
		if !r.first {
			continue // goes out with its source
		}
		out := &s.windows[r.slot()].Sources
		out.starts = append(out.starts, uint32(len(out.records)))
		out.records = append(out.records, r.record)
		conversed := r.conversed()
		for next := r.next; next != 0; next = s.here[next-1].next {
			o := &s.here[next-1].record
			out.records = append(out.records, *o)
			conversed += o.conversed()
		}
		if conversed >= establishedPackets {
			s.conversing = append(s.conversing, r.addr())
		}
	}
}

// open begins a group of n records.
func (s *scanner) open(n int) {
	size := 2 << bits.Len(uint(n))
	s.here, s.index = s.here[:0], slices.Grow(s.index[:0], size)[:size]
	clear(s.index)
}

// meet takes in a record: joined with one of its source and kind, if there is one.
func (s *scanner) meet(r *record, hash uint64) {
	mask := uint64(len(s.index) - 1)
	i := hash >> 40 & mask
	for ; s.index[i] != 0; i = (i + 1) & mask {
		j := s.index[i] - 1
		if !s.here[j].isSource(r) {
			continue
		}
		for {
			h := &s.here[j]
			if (h.key^r.key)&^keyRetired == 0 && h.join(r) {
				return
			}
			if h.next == 0 {
				break
			}
			j = h.next - 1
		}
		s.here = append(s.here, joined{record: *r})
		s.here[j].next = uint32(len(s.here))
		return
	}
	s.here = append(s.here, joined{record: *r, first: true})
	s.index[i] = uint32(len(s.here))
}

// conversed returns the packets that only come after a handshake.
func (r *record) conversed() uint64 {
	if r.kind()&^kindDropped != classTCPOther {
		return 0
	}
	return r.packets()
}
