package xdp

import (
	"math/bits"
	"unsafe"
)

// Of sources.h.
const (
	setWays     = 4
	keyShift    = 32
	keyUsed     = 1<<15 | 1<<13
	keyRetired  = 1 << 14
	keyFamily6  = 1 << 16 // here only
	slotMask    = MaxSlots - 1
	kindShift   = 6
	kindMask    = 0x1f
	kindDropped = 8
	kindPairs   = 16
	byteBits    = 40
	byteMask    = 1<<byteBits - 1
	// pairMultiplier is 2^64 over the golden ratio.
	pairMultiplier = 0x9e3779b97f4a7c15
	dirtySets      = 8
	wordSets       = dirtySets * 64 // sets that one word of the dirty map stands for
	kindBits       = 5
	blockSets      = 64
	blockGroups    = blockSets / dirtySets
	wordBlocks     = wordSets / blockSets
	blockRecords   = blockSets * setWays
	fullCounts     = 1<<63 | 1<<(byteBits-1) // half of what either count can hold
)

// What a flood cannot push out: sources that converse keep their records from
// window to window.
const (
	carryPackets = 3 // TCP packets in a window that only come after a handshake
	carryIdle    = 8 // windows of one half, so 4 s at 250 ms
	carryShare   = 4 // at most a quarter of a region's records
)

// sourceTable is the table of one family, as words: a record is its address with its key
// above, or its address and then part of its hash with its key above, and its counts.
type sourceTable struct {
	family uint8
	sets   int // per region, a power of two
	stride int // words per record
	keyAt  int // of them, the one with the key
	words  []uint64
	four   [][setWays]record4 // words, if they are of IPv4
	dirty  []uint64
	ages   [2][][]uint8   // by half, CPU and record: idle windows of a record that is carried over
	needed [hotMemory]int // records of the last windows, the latest first
}

func newSourceTable[S any](family uint8, cpus, sets int, table []S, dirty []uint64) sourceTable {
	n := int(unsafe.Sizeof(table[0])) / 8
	t := sourceTable{
		family: family, sets: sets, stride: n / setWays, dirty: dirty,
		words: unsafe.Slice((*uint64)(unsafe.Pointer(&table[0])), n*len(table)),
	}
	for half := range t.ages {
		t.ages[half] = make([][]uint8, cpus)
	}
	for i := range t.needed {
		t.needed[i] = hotStart*setWays*hotFull/100 - 1
	}
	if family == 6 {
		t.keyAt = 2
	} else {
		t.four = unsafe.Slice((*[setWays]record4)(unsafe.Pointer(&table[0])), len(table))
	}
	return t
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

// wordsOf returns the words of n sets of a region, or as many as there are from first on.
func (t *sourceTable) wordsOf(region, first, n int) []uint64 {
	size := setWays * t.stride
	return t.words[(region*t.sets+first)*size:][:min(n, t.sets-first)*size]
}

// sets4 returns n sets of a region, or as many as there are from first on.
func (t *sourceTable) sets4(region, first, n int) [][setWays]record4 {
	return t.four[region*t.sets+first:][:min(n, t.sets-first)]
}

// read returns the record at a place in some of the table's words.
func (t *sourceTable) read(words []uint64, i int) record {
	r := record{key: uint32(words[i+t.keyAt] >> keyShift), counts: words[i+t.stride-1]}
	if t.family == 4 {
		r.address[0] = words[i] & (1<<keyShift - 1)
	} else {
		r.key |= keyFamily6
		r.address = [2]uint64{words[i], words[i+1]}
	}
	return r
}

// slotSalt is that of hash.h.
const slotSalt = 0x9e3779b97f4a7c15

// hash4 is the hash of the source of a record4's word.
func hash4(word, seed uint64) uint64 {
	return mix(word&(1<<keyShift-1)+seed) ^ word>>keyShift&slotMask*slotSalt
}

func (t *sourceTable) hash(r *record, seed uint64) uint64 {
	slot := uint64(r.key & slotMask)
	if t.family == 4 {
		return hash4(slot<<keyShift|r.address[0], seed)
	}
	return mix(mix(r.address[0]+seed) ^ r.address[1] ^ slot<<56)
}

// first is the first of the two sets of the source with a hash, when so many are hot.
func (t *sourceTable) first(hash uint64, hot int) int { return int(uint32(hash)) & (hot - 1) }

// second is the other, of the source's records of one kind; as in batch.h.
func (t *sourceTable) second(hash uint64, kind, hot int) int {
	h := uint32(hash>>32) ^ uint32(kind)*0x9e3779b1
	behind := int(hash>>32*uint64(t.sets-hot)>>32) & -hot
	near := t.first(hash, hot) ^ int(h&(blockSets-1)|1)
	return (hot + behind + near) & (t.sets - 1)
}

// clear empties a region for the window after the next, except for the places of
// sources that converse: a flood that comes first must not push them into Other. The
// clusters that can have such are those in carrying.
func (t *sourceTable) clear(region, half, cpus int, carrying []bool) {
	n := t.dirtyWords()
	left := t.sets * setWays / carryShare
	for word, used := range t.dirty[region*n : (region+1)*n] {
		var kept uint64
		for used != 0 {
			at := bits.TrailingZeros64(used) / blockGroups * blockGroups
			block, groups := word*wordBlocks+at/blockGroups, uint8(used>>at)
			used &^= 0xff << at
			switch {
			case carrying[block&(len(carrying)-1)]:
				kept |= uint64(t.clearCarrying(half, region, region-half*cpus, block, groups, &left)) << at
			case groups == 0xff:
				clear(t.wordsOf(region, block*blockSets, blockSets))
			default:
				for ; groups != 0; groups &= groups - 1 {
					clear(t.wordsOf(region, block*blockSets+bits.TrailingZeros8(groups)*dirtySets, dirtySets))
				}
			}
		}
		t.dirty[region*n+word] = kept
	}
}

// clearCarrying empties groups of sets of a block, and returns those in which a record
// was kept.
func (t *sourceTable) clearCarrying(half, region, cpu, block int, groups uint8, left *int) (kept uint8) {
	for ; groups != 0; groups &= groups - 1 {
		group := bits.TrailingZeros8(groups)
		first := block*blockSets + group*dirtySets
		for set := first; set < min(first+dirtySets, t.sets); set++ {
			if t.clearSet(half, region, cpu, set, left) {
				kept |= 1 << group
			}
		}
	}
	return kept
}

// clearSet empties one set and reports whether a record was kept. Those move to
// the front: the program takes ways in order.
func (t *sourceTable) clearSet(half, region, cpu, set int, left *int) bool {
	words := t.wordsOf(region, set, 1)
	kept := 0
	for way := range setWays {
		if words[way*t.stride+t.keyAt] == 0 {
			break
		}
		r := t.read(words, way*t.stride)
		if r.key&keyRetired != 0 || r.kind() != classTCPOther || *left == 0 || r.packets() < carryPackets && r.counts > 0 {
			continue
		}
		idle := uint8(0)
		if r.counts == 0 {
			if idle = *t.age(half, cpu, set, way) + 1; idle >= carryIdle {
				continue
			}
		}
		*left--
		from, to := words[way*t.stride:(way+1)*t.stride], words[kept*t.stride:(kept+1)*t.stride]
		copy(to, from)
		to[t.stride-1] = 0
		*t.age(half, cpu, set, kept) = idle
		kept++
	}
	clear(words[kept*t.stride:])
	return kept > 0
}

func (t *sourceTable) age(half, cpu, set, way int) *uint8 {
	ages := &t.ages[half][cpu]
	if *ages == nil {
		*ages = make([]uint8, t.sets*setWays)
	}
	return &(*ages)[set*setWays+way]
}
