package xdp

import (
	"math/bits"
	"unsafe"
)

// Of sources.h.
const (
	setWays     = 4
	keyShift4   = 32
	keyUsed     = 1 << 15
	keyRetired  = 1 << 14
	keyFamily6  = 1 << 16 // here only
	slotMask    = MaxSlots - 1
	kindShift   = 6
	kindMask    = 0x1f
	kindDropped = 8
	kindPairs   = 16
	byteBits    = 40
	// pairMultiplier is 2^64 over the golden ratio.
	pairMultiplier = 0x9e3779b97f4a7c15
	dirtySets      = 8
	wordSets       = dirtySets * 64 // sets that one word of the dirty map stands for
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

// number is the table's place in Datapath.tables.
func (t *sourceTable) number() int {
	if t.family == 4 {
		return 0
	}
	return 1
}

func (t *sourceTable) dirtyWords() int { return dirtyWords(t.sets) }

func dirtyWords(sets int) int { return (sets + wordSets - 1) / wordSets }

// at reads record i of the whole table; its key is 0 when it is free.
func (t *sourceTable) at(i int) record {
	if t.family == 4 {
		w := t.words[2*i : 2*i+2]
		return record{address: [2]uint64{w[0] & (1<<keyShift4 - 1)}, key: uint32(w[0] >> keyShift4), counts: w[1]}
	}
	w := t.words[4*i : 4*i+4]
	if w[2] == 0 {
		return record{}
	}
	return record{address: [2]uint64{w[0], w[1]}, key: uint32(w[2]) | keyFamily6, counts: w[3]}
}

func (t *sourceTable) hash(r *record, seed uint64) uint64 {
	slot := uint64(r.key & slotMask)
	if t.family == 4 {
		return mix((slot<<32 | r.address[0]) + seed)
	}
	return mix(mix(r.address[0]+seed) ^ r.address[1] ^ slot<<56)
}

// home is the first of the two sets of the source with a hash.
func (t *sourceTable) home(hash uint64) int { return int(uint32(hash)) & (t.sets - 1) }

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
				if t.clearFlood(region, first) {
					continue
				}
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

// clearFlood empties a group of sets in which nobody converses, which during a
// flood are most, and reports whether it did.
func (t *sourceTable) clearFlood(region, first int) bool {
	keyAt, shift := 0, keyShift4
	if t.family == 6 {
		keyAt, shift = 2, 0
	}
	from := (region*t.sets + first) * setWays * t.stride
	words := t.words[from:][:min(dirtySets, t.sets-first)*setWays*t.stride]
	for i := keyAt; i < len(words); i += t.stride {
		if words[i]>>shift&(kindMask<<kindShift) == classTCPOther<<kindShift {
			return false
		}
	}
	clear(words)
	return true
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
		if r.key&keyRetired != 0 || r.kind() != classTCPOther || *left == 0 || r.packets() < carryPackets && r.counts > 0 {
			continue
		}
		idle := uint8(0)
		if r.counts == 0 {
			if idle = *t.age(half, cpu, cpus, set, way) + 1; idle >= carryIdle {
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
