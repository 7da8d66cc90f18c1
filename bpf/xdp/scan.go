package xdp

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
)

// scanner reads the records of an ended window, once to count and once to join
// those of each source.
//
// A source has its records in one set, its home, on every CPU that saw it: so the
// sources of one set are joined among themselves, without a table of all. Where
// the home was full on a CPU, records are elsewhere. The first reading finds these
// strays, and the second joins them where they belong.
type scanner struct {
	windows [MaxSlots]*Window // nil: of an interface that has gone
	sums    [MaxSlots][2 * NumClasses]struct{ packets, bytes uint64 }
	tables  [2]tableScan

	here       []record // the records of one set
	conversing []netip.Addr
}

// tableScan is what the first reading of a table leaves for the second.
type tableScan struct {
	used   []uint64 // groups of sets in use, as in sourceTable.dirty
	strays []record
	next   []int32 // by stray: the next with the same home, plus one
	first  []int32 // by set: its first stray, plus one; 0: none
}

// begin prepares for a half's windows.
func (s *scanner) begin(windows []Window) {
	s.windows = [MaxSlots]*Window{}
	for i := range windows {
		s.windows[windows[i].Slot] = &windows[i]
	}
	clear(s.sums[:])
	s.conversing = s.conversing[:0]
}

// count is the first reading: totals, sketches, and what is not at home.
func (d *Datapath) count(t *sourceTable, half int) {
	s := &d.scanner
	x := &s.tables[t.number()]
	x.reset(t, d.dirtyOf(t, half))
	for word, used := range x.used {
		for ; used != 0; used &= used - 1 {
			first := word*wordSets + bits.TrailingZeros64(used)*dirtySets
			for cpu := range d.cpus {
				region := half*d.cpus + cpu
				for set := first; set < min(first+dirtySets, t.sets); set++ {
					d.countSet(t, x, region, set)
				}
			}
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
		x.first = make([]int32, t.sets)
	}
	for i := range x.strays {
		x.first[x.strays[i].home] = 0
	}
	x.used, x.strays, x.next = used, x.strays[:0], x.next[:0]
}

func (d *Datapath) countSet(t *sourceTable, x *tableScan, region, set int) {
	first := (region*t.sets + set) * setWays
	for i := first; i < first+setWays; i++ {
		r := t.at(i)
		if r.key == 0 {
			return // ways are taken in order
		}
		if h, ok := d.scanner.count(t, &r, d.seed); ok && t.home(h) != set {
			x.stray(r, t.home(h))
		}
	}
}

// count adds a record to its interface's totals and sketches. It returns the hash
// of its source, or false if it is of an interface that has gone, or carried
// over and idle.
func (s *scanner) count(t *sourceTable, r *record, seed uint64) (hash uint64, ok bool) {
	w := s.windows[r.slot()]
	if w == nil || r.counts == 0 {
		return 0, false
	}
	hash = t.hash(r, seed)
	kind := r.kind()
	w.note(hash, kind)
	if kind < len(s.sums[0]) {
		sum := &s.sums[r.slot()][kind]
		sum.packets += r.packets()
		sum.bytes += r.bytes()
	}
	return hash, true
}

func (x *tableScan) stray(r record, home int) {
	r.home = uint32(home)
	x.strays = append(x.strays, r)
	x.next = append(x.next, x.first[home])
	x.first[home] = int32(len(x.strays))
	x.used[home/wordSets] |= 1 << (home / dirtySets & 63)
}

// countLate counts the packets that were in a buffer when the window ended.
func (d *Datapath) countLate(t *sourceTable, x *tableScan, half int) {
	for cpu := range d.cpus {
		b := &d.batches[half*d.cpus+cpu]
		for i := range min(int(b.N), len(b.Noted)) {
			e := &b.Noted[i]
			if e.Family != uint16(t.family) {
				continue
			}
			a := e.Address.W
			r := record{key: uint32(e.Key), counts: uint64(e.Packets)<<byteBits | uint64(e.Length)}
			r.address[0] = uint64(a[0])
			if t.family == 6 {
				r.key |= keyFamily6
				r.address = [2]uint64{uint64(a[1])<<32 | uint64(a[0]), uint64(a[3])<<32 | uint64(a[2])}
			}
			h, ok := d.scanner.count(t, &r, d.seed)
			if !ok {
				continue
			}
			x.stray(r, t.home(h))
			if e.Ports != 0 {
				r.key = r.key&(keyFamily6|keyUsed|slotMask) | kindPairs<<kindShift
				r.counts = e.pairBit(d.seed)
				x.stray(r, t.home(h))
			}
		}
	}
}

// pairBit is the bit of a packet's ports in a bitmap of pairs; that of sources.h.
func (e *weirNoted) pairBit(seed uint64) uint64 {
	return 1 << ((uint64(bits.ReverseBytes32(e.Ports)) + seed) * pairMultiplier >> 58)
}

// total writes what the first reading counted.
func (s *scanner) total() {
	for slot, w := range s.windows {
		if w == nil {
			continue
		}
		for kind, sum := range s.sums[slot] {
			w.Totals.add(kind, sum.packets, sum.bytes)
		}
	}
}

// join is the second reading: the sources, set by set.
func (d *Datapath) join(t *sourceTable, half int) {
	s := &d.scanner
	x := &s.tables[t.number()]
	for word, used := range x.used {
		for ; used != 0; used &= used - 1 {
			first := word*wordSets + bits.TrailingZeros64(used)*dirtySets
			for set := first; set < min(first+dirtySets, t.sets); set++ {
				d.gather(t, x, half, set)
				s.emit()
			}
		}
	}
}

// gather collects the records whose home is a set.
func (d *Datapath) gather(t *sourceTable, x *tableScan, half, set int) {
	s := &d.scanner
	s.here = s.here[:0]
	for cpu := range d.cpus {
		first := ((half*d.cpus+cpu)*t.sets + set) * setWays
		for i := first; i < first+setWays; i++ {
			r := t.at(i)
			if r.key == 0 {
				break
			}
			if s.windows[r.slot()] != nil && r.counts != 0 && t.home(t.hash(&r, d.seed)) == set {
				s.meet(&r)
			}
		}
	}
	for i := x.first[set]; i != 0; i = x.next[i-1] {
		s.meet(&x.strays[i-1])
	}
}

// fewHere is up to how many records of a set are compared one with each other;
// more are sorted.
const fewHere = 32

// meet joins a record with one of its source and kind, if there is one already.
func (s *scanner) meet(r *record) {
	key := r.key &^ keyRetired
	if len(s.here) < fewHere {
		for i := range s.here {
			if h := &s.here[i]; h.address == r.address && h.key == key && h.join(r) {
				return
			}
		}
	}
	s.here = append(s.here, record{address: r.address, counts: r.counts, key: key})
}

// emit appends the sources of a set to their windows.
func (s *scanner) emit() {
	sorted := len(s.here) >= fewHere
	if sorted {
		slices.SortFunc(s.here, func(a, b record) int {
			return cmp.Or(cmp.Compare(a.address[0], b.address[0]), cmp.Compare(a.address[1], b.address[1]), cmp.Compare(a.slot(), b.slot()))
		})
	}
	for i := range s.here {
		r := &s.here[i]
		if r.key == 0 {
			continue // went out with its source
		}
		out := &s.windows[r.slot()].Sources
		out.starts = append(out.starts, uint32(len(out.records)))
		out.records = append(out.records, *r)
		conversed := r.conversed()
		for j := i + 1; j < len(s.here); j++ {
			o := &s.here[j]
			if o.key != 0 && o.isSource(r) {
				out.records = append(out.records, *o)
				conversed += o.conversed()
				o.key = 0
			} else if sorted {
				break
			}
		}
		if conversed >= establishedPackets {
			s.conversing = append(s.conversing, r.addr())
		}
	}
}

// conversed returns the packets that only come after a handshake.
func (r *record) conversed() uint64 {
	if r.kind()&^kindDropped != classTCPOther {
		return 0
	}
	return r.packets()
}
