package xdp

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// Of sources.h.
const (
	setWays     = 4
	recordWords = 2
	keyShift    = 32 // of IPv4
	keyShift6   = 44
	keyBits     = 16                        // above them: overflow.h
	recordMask  = 1<<(keyShift+keyBits) - 1 // of the word of a record of IPv4
	recordMask6 = 1<<(keyShift6+keyBits) - 1
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

// sourceTable is the table of one family, as words: a record is its address, or part of the
// hash of that, with its key above; and its counts.
type sourceTable struct {
	family uint8
	sets   int // per region, a power of two
	words  []uint64
	four   []set4   // words, if they are of IPv4
	names  []names6 // whose the records of each set are, if they are of IPv6
	dirty  []uint64
	ages   [2][][]uint8   // by half, CPU and record: idle windows of a record that is carried over
	needed [hotMemory]int // records of the last windows, the latest first
}

// names6 are the sources of a set of IPv6, as weirNames6 has them.
type names6 [setWays][2]uint64

func newSourceTable[S any](family uint8, cpus int, table []S, dirty []uint64, names []names6) sourceTable {
	t := sourceTable{
		family: family, sets: len(table) / (2 * cpus), dirty: dirty, names: names,
		words: unsafe.Slice((*uint64)(unsafe.Pointer(&table[0])), setWays*recordWords*len(table)),
	}
	for half := range t.ages {
		t.ages[half] = make([][]uint8, cpus)
	}
	for i := range t.needed {
		t.needed[i] = hotStart*setWays*hotFull/100 - 1
	}
	if family == 4 {
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
	const size = setWays * recordWords
	return t.words[(region*t.sets+first)*size:][:min(n, t.sets-first)*size]
}

// sets4 returns n sets of a region, or as many as there are from first on.
func (t *sourceTable) sets4(region, first, n int) []set4 {
	return t.four[region*t.sets+first:][:min(n, t.sets-first)]
}

// namesOf returns the names of n sets of a region, or as many as there are from first on.
func (t *sourceTable) namesOf(region, first, n int) []names6 {
	return t.names[region*t.sets+first:][:min(n, t.sets-first)]
}

// recordAt is the number of the first record of a set, of all in the table.
func (t *sourceTable) recordAt(region, set int) int { return (region*t.sets + set) * setWays }

// word returns the word of a record that it is found by; 0 if it is free.
func (t *sourceTable) word(i int) *uint64 { return &t.words[i*recordWords] }

func (t *sourceTable) counts(i int) *uint64 { return &t.words[i*recordWords+1] }

// name returns the source of a record of IPv6.
func (t *sourceTable) name(i int) *[2]uint64 { return &t.names[i/setWays][i%setWays] }

// mask is of what a record's word has but for who went on from its set.
func (t *sourceTable) mask() uint64 {
	if t.family == 4 {
		return recordMask
	}
	return recordMask6
}

// keyIn returns the key in the word of a record of IPv4, above which there may be more.
func keyIn(word uint64) uint32 { return uint32(word & recordMask >> keyShift) }

func keyIn6(word uint64) uint32 { return uint32(word&recordMask6>>keyShift6) | keyFamily6 }

// read returns a record.
func (t *sourceTable) read(i int) record {
	word, counts := *t.word(i), *t.counts(i)
	if t.family == 4 {
		return record{address: [2]uint64{word & (1<<keyShift - 1)}, key: keyIn(word), counts: counts}
	}
	return record{address: *t.name(i), key: keyIn6(word), counts: counts}
}

// write makes a free record this one, of which all is there once it is in use.
func (t *sourceTable) write(i int, r *record, hash uint64) {
	*t.counts(i) = r.counts
	word := uint64(r.key)<<keyShift | r.address[0]
	if t.family == 6 {
		*t.name(i) = r.address
		word = uint64(r.key&^keyFamily6)<<keyShift6 | hash>>(64-keyShift6)
	}
	atomic.StoreUint64(t.word(i), word)
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
	x := upper + seed
	if lower != 0 {
		x = mix(x) ^ lower
	}
	return mix(x ^ (slot+MaxSlots)<<56)
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
	first, kept := c.recordAt(c.region, set), 0
	for way := range setWays {
		if *c.word(first + way) == 0 {
			break
		}
		r := c.read(first + way)
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
		c.keep(first+way, first+kept)
		*c.age(c.half, c.cpu, set, kept) = idle
		kept++
	}
	clear(c.wordsOf(c.region, set, 1)[kept*recordWords:])
	return kept > 0
}

// keep moves a record to where another was, or is, with nothing counted. Whenever the process
// dies, the records that are in use have their own names.
func (t *sourceTable) keep(from, to int) {
	word := *t.word(from) & t.mask()
	if t.family == 6 && from != to {
		atomic.StoreUint64(t.word(to), 0)
		*t.name(to) = *t.name(from)
	}
	*t.counts(to) = 0
	atomic.StoreUint64(t.word(to), word)
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
