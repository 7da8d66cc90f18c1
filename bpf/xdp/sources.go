package xdp

import (
	"math/bits"
	"unsafe"
)

// Of sources.h.
const (
	setWays     = 4
	keyShift    = 32
	goneOnShift = 48 // above the keys of a set: overflow.h
	recordMask  = 1<<goneOnShift - 1
	keyUsed     = 1<<15 | 1<<13
	keyRetired  = 1 << 14
	keyMask     = 1<<16 - 1
	keyFamily6  = 1 << 16 // here only
	slotMask    = MaxSlots - 1
	kindShift   = 8
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
	notedSize      = 64                      // what a packet in a buffer adds to how filled that is
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
	four   []set4 // words, if they are of IPv4
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
		t.four = unsafe.Slice((*set4)(unsafe.Pointer(&table[0])), len(table))
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
func (t *sourceTable) sets4(region, first, n int) []set4 {
	return t.four[region*t.sets+first:][:min(n, t.sets-first)]
}

// keyIn returns the key in a word that may have something else above it.
func keyIn(word uint64) uint32 {
	return uint32(word & recordMask >> keyShift)
}

// read returns the record at a place in some of the table's words.
func (t *sourceTable) read(words []uint64, i int) record {
	r := record{key: keyIn(words[i+t.keyAt]), counts: words[i+t.stride-1]}
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
	return hash6(r.address[0], r.address[1], slot, seed)
}

// hash6 is that of hash.h.
func hash6(upper, lower, slot, seed uint64) uint64 {
	upper += seed
	upper ^= upper >> 32
	return mix(upper*0x9fb21c651e98df25 ^ lower ^ slot<<56)
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
// clusters that can have such are those in carrying. Those that were in their second set
// come to their first.
func (d *Datapath) clear(t *sourceTable, half, cpu int, carrying []bool) {
	c := clearing{
		sourceTable: t, half: half, cpu: cpu, region: half*d.cpus + cpu, hot: d.hot(t, half), seed: d.seed,
		left: t.sets * setWays / carryShare,
	}
	n := t.dirtyWords()
	for word, used := range t.dirty[c.region*n : (c.region+1)*n] {
		var kept uint64
		for used != 0 {
			at := bits.TrailingZeros64(used) / blockGroups * blockGroups
			block, groups := word*wordBlocks+at/blockGroups, uint8(used>>at)
			used &^= 0xff << at
			switch {
			case carrying[block&(len(carrying)-1)]:
				kept |= uint64(c.clearCarrying(block, groups)) << at
			case groups == 0xff:
				clear(t.wordsOf(c.region, block*blockSets, blockSets))
			default:
				for ; groups != 0; groups &= groups - 1 {
					clear(t.wordsOf(c.region, block*blockSets+bits.TrailingZeros8(groups)*dirtySets, dirtySets))
				}
			}
		}
		t.dirty[c.region*n+word] = kept
	}
	d.enterParked(t, half, c.hot, c.parked)
}

// clearing is the work on one region.
type clearing struct {
	*sourceTable
	half, cpu, region, hot int
	seed                   uint64
	left                   int // so many records may be kept
	parked                 []parked
}

// clearCarrying empties groups of sets of a block, and returns those in which a record
// was kept.
func (c *clearing) clearCarrying(block int, groups uint8) (kept uint8) {
	for ; groups != 0; groups &= groups - 1 {
		group := bits.TrailingZeros8(groups)
		first := block*blockSets + group*dirtySets
		for set := first; set < min(first+dirtySets, c.sets); set++ {
			if c.clearSet(set) {
				kept |= 1 << group
			}
		}
	}
	return kept
}

// clearSet empties one set and reports whether a record was kept. Those move to
// the front: the program takes ways in order.
func (c *clearing) clearSet(set int) bool {
	words := c.wordsOf(c.region, set, 1)
	kept := 0
	for way := range setWays {
		if words[way*c.stride+c.keyAt] == 0 {
			break
		}
		r := c.read(words, way*c.stride)
		if r.key&keyRetired != 0 || r.kind() != classTCPOther || c.left == 0 || r.packets() < carryPackets && r.counts > 0 {
			continue
		}
		idle := uint8(0)
		if r.counts == 0 {
			if idle = *c.age(c.half, c.cpu, set, way) + 1; idle >= carryIdle {
				continue
			}
		}
		c.left--
		if r.counts = 0; c.isSecond(set, &r) {
			c.parked = append(c.parked, parked{r, c.cpu, idle})
			continue
		}
		from, to := words[way*c.stride:(way+1)*c.stride], words[kept*c.stride:(kept+1)*c.stride]
		copy(to, from)
		to[c.keyAt] &= recordMask
		to[c.stride-1] = 0
		*c.age(c.half, c.cpu, set, kept) = idle
		kept++
	}
	clear(words[kept*c.stride:])
	return kept > 0
}

// isSecond reports whether a set is the second of a record in it.
func (c *clearing) isSecond(set int, r *record) bool {
	return set >= c.hot || c.hot == c.sets && set != c.first(c.hash(r, c.seed), c.hot)
}

func (t *sourceTable) age(half, cpu, set, way int) *uint8 {
	ages := &t.ages[half][cpu]
	if *ages == nil {
		*ages = make([]uint8, t.sets*setWays)
	}
	return &(*ages)[set*setWays+way]
}
