package xdp

import "math/bits"

// record4 is a record of an IPv4 source as it lies in the table.
type record4 struct {
	word   uint64 // address, and above it the key
	counts uint64
}

// Of the word of a record4.
const (
	source4Mask = slotMask<<keyShift4 | (1<<keyShift4 - 1)
	retired4    = keyRetired << keyShift4
)

func (r record4) record() record {
	return record{address: [2]uint64{r.word & (1<<keyShift4 - 1)}, key: uint32(r.word >> keyShift4), counts: r.counts}
}

// joiner4 joins the records of a block. The records of a source that cannot be joined,
// being of different kinds, are linked.
type joiner4 struct {
	records []record4 // of the block, of all CPUs
	joined  []record4
	links   []uint32 // by joined: the source's next, plus one; linked if it is not its first
	index   []uint32 // by hash: a joined one, plus one
}

// linked marks a record that is not the first of its source.
const linked = 1 << 31

// block4 reads a block of sets of IPv4.
func (r *reader) block4(t *sourceTable, block int, groups uint8) {
	j := &r.four
	late := r.scanner.tables[0].lateIn(block)
	j.begin(r.cpus*blockRecords + len(late))
	n := 0
	for cpu := range r.cpus {
		region := r.scanner.half*r.cpus + cpu
		for left := groups; left != 0; left &= left - 1 {
			from := t.group4(region, block*blockSets+bits.TrailingZeros8(left)*dirtySets)
			n += gather4((*[groupRecords]record4)(j.records[n:n+groupRecords]), from)
		}
	}
	for i := range late {
		j.records[n] = record4{late[i].address[0] | uint64(late[i].key)<<keyShift4, late[i].counts}
		n++
	}
	n = j.join(j.records[:n], r.hashKey)
	r.emit4(j.joined[:n], j.links[:n])
	r.sketch4(j.joined[:n], block)
}

// begin makes room for n records.
func (j *joiner4) begin(n int) {
	if len(j.records) < n {
		j.records, j.joined, j.links = make([]record4, n), make([]record4, n), make([]uint32, n)
		j.index = make([]uint32, 4<<bits.Len(uint(n)))
	}
}

// gather4 copies the records that are in use, and returns how many. How many of a set
// are cannot be predicted, so it asks by arithmetic: a wrong guess would cost more than
// a copy.
func gather4(to *[groupRecords]record4, from []record4) (n int) {
	for i := range from {
		word, counts := from[i].word, from[i].counts
		to[n%groupRecords] = record4{word, counts}
		n += int(inUse(word))
	}
	return n
}

// inUse returns 1 for a word that is not 0.
func inUse(word uint64) uint64 { return (word | -word) >> 63 }

// join joins records, and returns how many are left.
func (j *joiner4) join(records []record4, key uint64) (n int) {
	bits := max(6, bits.Len(uint(len(records)))+1)
	index, joined, links := j.index[:1<<bits], j.joined, j.links
	clear(index)
next:
	for _, r := range records {
		first := uint32(0)
		h := (r.word & source4Mask) * key >> (64 - bits&63)
		for ; index[h&uint64(len(index)-1)] != 0; h++ {
			at := index[h&uint64(len(index)-1)]
			o := &joined[at-1]
			other := o.word ^ r.word
			if other&^retired4 == 0 {
				if sum, ok := joinCounts(r.word>>keyShift4, o.counts, r.counts); ok {
					o.counts = sum
					continue next
				}
			}
			if other&source4Mask == 0 && first == 0 {
				first = at
			}
		}
		joined[n], links[n] = r, 0
		n++
		index[h&uint64(len(index)-1)] = uint32(n)
		if first != 0 {
			links[n-1] = linked | links[first-1]
			links[first-1] = uint32(n)
		}
	}
	return n
}

// emit4 counts and lists the sources of a block.
func (r *reader) emit4(joined []record4, links []uint32) {
	var l *list
	slot := uint64(MaxSlots)
	for i, e := range joined {
		key := e.word >> keyShift4
		counts := r.tell(key, e.counts)
		if links[i] != 0 {
			if links[i]&linked == 0 {
				r.emitLinked4(joined, links, i)
			}
			continue
		}
		if !counts {
			continue
		}
		if key&slotMask != slot {
			slot = key & slotMask
			l = r.list(int(slot))
		}
		l.fours = append(l.fours, e)
		if key>>kindShift&(kindMask&^kindDropped) == classTCPOther && e.counts>>byteBits >= establishedPackets {
			source := e.record()
			r.conversing = append(r.conversing, source.addr())
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

// sketch4 enters the block's sources in the sketches.
func (r *reader) sketch4(joined []record4, block int) {
	if r.sketchBlock(block) {
		return
	}
	for _, e := range joined {
		if key := e.word >> keyShift4; e.counts != 0 && r.scanner.slots>>(key&slotMask)&1 != 0 {
			r.sketchOf(int(key&slotMask)).note(hash4(e.word, r.seed), 1<<(key>>kindShift&kindMask))
		}
	}
}
