package xdp

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// How many sets of a table are hot: sources.h has the idea.
const (
	// hotLeast is enough: in fewer, few sources would not lie in fewer cache lines, and
	// a flood that finds so few hot would be joined by fewer threads.
	hotLeast = tableParts * blockSets
	// hotStart is how many are before any window has told: for 6,500 sources, and
	// 256 KiB. More of them find room all the same, at the price of a second look.
	hotStart = 4096
	// hotMemory is how many windows tell: a second at 250 ms, so that sources that
	// pause do not make the table change all the time.
	hotMemory = 4
	// hotFull is how full hot sets become at most, in per cent. Of records in sets of
	// four, one in 50 finds its first set full then; at 50 per cent it would be one in
	// 27, and more than what is won by fewer pages is lost by second looks.
	hotFull = 40
)

// hotSets returns how many sets of a region are hot.
func (b *weirBatch) hotSets(t *sourceTable) *uint32 {
	if t.family == 4 {
		return &b.Hot4
	}
	return &b.Hot6
}

// hot returns how many sets of a table are hot in a half. Regions only differ if a
// process died while it changed that, and those that do are empty.
func (d *Datapath) hot(t *sourceTable, half int) int {
	least := t.sets
	for cpu := range d.cpus {
		least = min(least, int(*d.batches[half*d.cpus+cpu].hotSets(t)))
	}
	return least
}

// setHot makes so many sets of a half hot, in which there is no record.
func (d *Datapath) setHot(t *sourceTable, half, hot int) {
	for cpu := range d.cpus {
		atomic.StoreUint32(d.batches[half*d.cpus+cpu].hotSets(t), uint32(hot))
	}
}

// isHot reports whether so many sets are hot in every region of a half.
func (d *Datapath) isHot(t *sourceTable, half, hot int) bool {
	for cpu := range d.cpus {
		if *d.batches[half*d.cpus+cpu].hotSets(t) != uint32(hot) {
			return false
		}
	}
	return true
}

// startHot is for tables that no window has been counted in.
func (d *Datapath) startHot() {
	for i := range d.tables {
		for half := range 2 {
			d.setHot(&d.tables[i], half, min(hotStart, d.tables[i].sets))
		}
	}
}

// need remembers how many records the window had that is being committed, on the CPU
// with the most.
func (t *sourceTable) need(records int) {
	copy(t.needed[1:], t.needed[:])
	t.needed[0] = records
}

// wanted returns how many sets should be hot.
func (t *sourceTable) wanted() int {
	most := uint(slices.Max(t.needed[:]))
	return min(t.sets, max(hotLeast, 1<<bits.Len(most*100/(hotFull*setWays))))
}

// adapt makes as many sets hot as the last windows needed, in a half that has been
// cleared.
func (d *Datapath) adapt(half int) {
	for i := range d.tables {
		t := &d.tables[i]
		t.need(d.scanner.tables[i].records)
		if hot := t.wanted(); !d.isHot(t, half, hot) {
			d.move(t, half, hot)
		}
	}
}

// parked is a record that outlives its window, out of its table.
type parked struct {
	record
	cpu  int
	idle uint8 // windows
}

// move changes how many sets of a half are hot. Records that were carried over come
// where the program will look for them. Whenever the process dies, none is elsewhere:
// the table is empty while the number changes.
func (d *Datapath) move(t *sourceTable, half, hot int) {
	all := t.park(half, d.cpus)
	d.setHot(t, half, hot)
	d.enterParked(t, half, hot, all)
}

// enterParked brings records back into their table.
func (d *Datapath) enterParked(t *sourceTable, half, hot int, all []parked) {
	for i := range all {
		p := &all[i]
		if set, way, ok := t.enter(half*d.cpus+p.cpu, hot, &p.record, d.seed); ok {
			*t.age(half, p.cpu, set, way) = p.idle
		}
	}
}

// enter enters a record in the first of its two sets that has room, and returns where.
func (t *sourceTable) enter(region, hot int, r *record, seed uint64) (set, way int, ok bool) {
	hash := t.hash(r, seed)
	set = t.first(hash, hot)
	if way, ok = t.take(region, set, hash, r); ok {
		return set, way, ok
	}
	gone, bit := t.goneBit(region, set, hash, r, seed)
	set = t.second(hash, r.kind(), hot)
	if way, ok = t.take(region, set, hash, r); ok {
		*gone |= bit
	}
	return set, way, ok
}

// goneBit returns where above the keys of a source's first set it is told that it may have a
// record in its second: gone_bit of sources.h.
func (t *sourceTable) goneBit(region, set int, hash uint64, r *record, seed uint64) (word *uint64, bit uint64) {
	i, above := r.address[0]*seed>>58, keyShift+keyBits
	if t.family == 6 {
		i, above = hash>>32*seed>>60, keyShift6+keyBits
	}
	return t.word(t.recordAt(region, set) + int(i%setWays)), 1 << (uint64(above) + i/setWays)
}

// park empties a half and returns what was carried over in it.
func (t *sourceTable) park(half, cpus int) (all []parked) {
	n := t.dirtyWords()
	for cpu := range cpus {
		region := half*cpus + cpu
		for word := range n {
			dirty := &t.dirty[region*n+word]
			for used := *dirty; used != 0; used &= used - 1 {
				first := word*wordSets + bits.TrailingZeros64(used)*dirtySets
				for set := first; set < min(first+dirtySets, t.sets); set++ {
					all = t.parkSet(all, half, cpu, cpus, set)
				}
			}
			*dirty = 0
		}
	}
	return all
}

func (t *sourceTable) parkSet(all []parked, half, cpu, cpus, set int) []parked {
	region := half*cpus + cpu
	for way, first := 0, t.recordAt(region, set); way < setWays; way++ {
		if *t.word(first + way) != 0 {
			all = append(all, parked{t.read(first + way), cpu, *t.age(half, cpu, set, way)})
		}
	}
	clear(t.wordsOf(region, set, 1))
	return all
}

// take enters a record in a set if that has room, and returns where.
func (t *sourceTable) take(region, set int, hash uint64, r *record) (way int, ok bool) {
	for way, first := 0, t.recordAt(region, set); way < setWays; way++ {
		if *t.word(first + way) != 0 {
			continue
		}
		t.dirty[region*t.dirtyWords()+set/wordSets] |= 1 << (set / dirtySets & 63)
		t.write(first+way, r, hash)
		return way, true
	}
	return 0, false
}
