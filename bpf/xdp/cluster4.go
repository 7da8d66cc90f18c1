package xdp

import (
	"math/bits"
	"slices"
)

// record4 is a record of an IPv4 source as it lies in the table.
type record4 struct {
	word   uint64 // address, and above it the key
	counts uint64
}

// Of the word of a record4.
const (
	source4Mask = slotMask<<keyShift | (1<<keyShift - 1)
	pairs4      = kindPairs << (kindShift + keyShift)
	used4Shift  = 47 // of keyUsed
)

// set4 is a set of them.
type set4 [setWays]record4

func (r record4) record() record {
	return record{address: [2]uint64{r.word & (1<<keyShift - 1)}, key: uint32(r.word >> keyShift), counts: r.counts}
}

// joiner4 joins the records of a cluster. The records of a source that cannot be joined,
// being of different kinds, are linked.
type joiner4 struct {
	records []record4 // of the cluster, of all CPUs
	links   []uint32  // by joined record: the source's next, plus one; linked if it is not its first
	index   []uint16  // by hash: a joined record, plus one
}

// linked marks a record that is not the first of its source.
const linked = 1 << 31

// cluster4 reads a cluster of IPv4.
func (r *reader) cluster4(t *sourceTable, x *tableScan, cluster int) {
	j, n := &r.four, 0
	for block := cluster; block < x.blocks; block += x.clusters {
		if groups := x.usedIn(block); groups != 0 {
			j.records = reserve(j.records, n, r.cpus*blockRecords)
			n = r.gather4(t, block, groups, n)
		}
	}
	if n == 0 && x.usedIn(cluster) == 0 {
		return
	}
	late := x.lateIn(cluster)
	j.records = reserve(j.records, n, len(late))
	for i := range late {
		j.records[n] = record4{late[i].address[0] | uint64(late[i].key)<<keyShift, late[i].counts}
		n++
	}
	records := j.records[:n]
	if n <= r.mostAtOnce(len(late)) {
		r.join4(records, cluster)
		return
	}
	hash := func(e *record4) uint64 { return (e.word & source4Mask) * r.hashKey }
	split(records, make([]record4, n), hash, func(part []record4) { r.join4(part, cluster) })
	j.records = nil // so many will not come again
}

// gather4 adds the records of a block of all CPUs to the n that there are, and returns
// how many there are then.
func (r *reader) gather4(t *sourceTable, block int, groups uint8, n int) int {
	for cpu := range r.cpus {
		region, before := r.scanner.half*r.cpus+cpu, n
		if groups == 0xff {
			n += gatherSets4(r.four.records[n:], t.sets4(region, block*blockSets, blockSets))
		} else {
			for left := groups; left != 0; left &= left - 1 {
				first := block*blockSets + bits.TrailingZeros8(left)*dirtySets
				n += gatherSets4(r.four.records[n:], t.sets4(region, first, dirtySets))
			}
		}
		r.claimed[0][cpu] += n - before
	}
	return n
}

// join4 joins records, counts and lists their sources.
func (r *reader) join4(records []record4, cluster int) {
	j := &r.four
	j.begin(len(records))
	joined := j.join(records, r.hashKey)
	r.emit4(joined, j.links)
	if !r.sketchCluster(cluster) {
		r.sketch4(joined)
	}
}

// begin makes room for n records.
func (j *joiner4) begin(n int) {
	if len(j.links) < n {
		j.links, j.index = make([]uint32, n), make([]uint16, indexSize(n))
	}
}

// gatherSets4 copies the records that are in use, and returns how many. How many of a
// set are cannot be predicted, so it copies all, of which the free ones are the last, and
// asks by arithmetic: a wrong guess would cost more. It is not inlined, where it would
// have too few registers.
//
//go:noinline
func gatherSets4(to []record4, sets []set4) (n int) {
	for i := range sets {
		s, t := &sets[i], (*set4)(to[n:])
		t[0].word, t[1].word, t[2].word, t[3].word = plain4(s[0].word), plain4(s[1].word), plain4(s[2].word), plain4(s[3].word)
		t[0].counts, t[1].counts, t[2].counts, t[3].counts = s[0].counts, s[1].counts, s[2].counts, s[3].counts
		n += int(used4(s[0].word) + used4(s[1].word) + used4(s[2].word) + used4(s[3].word))
	}
	return n
}

// used4 returns 1 for the word of a record that is in use, or else 0.
func used4(word uint64) uint64 { return word >> used4Shift & 1 }

// indexSize is how many places there are for n records: enough for most to have theirs.
func indexSize(n int) int { return 8 << bits.Len(uint(n)) }

// join joins records in place, and returns what is left. What most records of a flood
// take is here and short; meet has the rest.
func (j *joiner4) join(records []record4, key uint64) []record4 {
	index := j.index[:indexSize(len(records))]
	mask := uint64(len(index) - 1)
	clear(index)
	clear(j.links[:len(records)])
	n := 0
	for i := range records {
		word, counts := records[i].word, records[i].counts
		h := (word & source4Mask) * key >> 32 & mask
		at := index[h]
		if at == 0 {
			records[n].word, records[n].counts = word, counts
			n++
			index[h] = uint16(n)
			continue
		}
		o := &records[at-1]
		if o.word == word && (o.counts|counts)&fullCounts|word&pairs4 == 0 {
			o.counts += counts
			continue
		}
		n = j.meet(records, records[i], h, mask, n)
	}
	return records[:n]
}

// meet looks for the source of a record from a place of the index on, and returns how
// many joined records there are now.
func (j *joiner4) meet(records []record4, r record4, h, mask uint64, n int) int {
	first := uint32(0)
	for ; j.index[h] != 0; h = (h + 1) & mask {
		at := uint32(j.index[h])
		o := &records[at-1]
		if o.word == r.word {
			if sum, ok := joinCounts(r.word>>keyShift, o.counts, r.counts); ok {
				o.counts = sum
				return n
			}
		}
		if (o.word^r.word)&source4Mask == 0 && first == 0 {
			first = at
		}
	}
	records[n] = r
	n++
	j.index[h] = uint16(n)
	if first != 0 {
		j.links[n-1] = linked | j.links[first-1]
		j.links[first-1] = uint32(n)
	}
	return n
}

// emit4 counts and lists the sources of a cluster. In a flood most that follow each other
// sent the same kind of packets: such are added up in one go.
func (r *reader) emit4(joined []record4, links []uint32) {
	links = links[:len(joined)]
	for i := 0; i < len(joined); {
		key, begin := joined[i].word>>keyShift, i
		var sum, most volume
		for ; i < len(joined) && joined[i].word>>keyShift == key && links[i] == 0; i++ {
			v := volumeOf(joined[i].counts)
			sum.add(v)
			most.packets = max(most.packets, v.packets)
			most.bytes = max(most.bytes, v.bytes)
		}
		if begin < i {
			if r.tell(key, sum) {
				r.emitAlike4(key, joined[begin:i], most)
			}
			continue
		}
		r.tell(key, volumeOf(joined[i].counts))
		if links[i]&linked == 0 {
			r.emitLinked4(joined, links, i)
		}
		i++
	}
}

// emitAlike4 lists sources of one record each, all of the same key. None is heavier
// than most.
func (r *reader) emitAlike4(key uint64, joined []record4, most volume) {
	l, kind := r.list(int(key&slotMask)), int(key>>kindShift&kindMask)
	if kind == classTCPOther {
		joined = slices.DeleteFunc(joined, func(e record4) bool { return e.counts == 0 }) // carried over and idle
	}
	if kind&^kindDropped == classTCPOther && most.packets >= establishedPackets {
		for _, e := range joined {
			if e.counts>>byteBits >= establishedPackets {
				source := e.record()
				r.conversing = append(r.conversing, source.addr())
			}
		}
	}
	switch room := r.part.mostListed - l.len(); {
	case room >= len(joined):
		l.fours = append(l.fours, joined...)
	case !l.heavy().wants(kind, most):
		l.more += len(joined)
	default:
		for _, e := range joined {
			if l.heavy().offerOne(kind, volumeOf(e.counts)) {
				l.fours = append(l.fours, e)
			} else {
				l.more++
			}
		}
	}
}

// emitLinked4 lists the source whose first record is at i.
func (r *reader) emitLinked4(joined []record4, links []uint32, i int) {
	r.linked = append(r.linked[:0], joined[i].record())
	for next := links[i]; next != 0; next = links[next-1] &^ linked {
		r.linked = append(r.linked, joined[next-1].record())
	}
	r.emitRecords(r.linked)
}

// sketch4 enters the sources of a cluster one by one.
func (r *reader) sketch4(joined []record4) {
	for i := 0; i < len(joined); {
		key, begin := joined[i].word>>keyShift, i
		for i < len(joined) && joined[i].word>>keyShift == key {
			i++
		}
		if slot := key & slotMask; r.scanner.slots>>slot&1 != 0 {
			r.sketchOf(int(slot)).note4(joined[begin:i], r.seed, int(key>>kindShift&kindMask))
		}
	}
}
