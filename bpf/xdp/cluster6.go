package xdp

import "math/bits"

// joiner6 joins the records of a cluster, like joiner4.
type joiner6 struct {
	records []record
	joined  []record
	links   []uint32
	index   []uint16
}

// cluster6 reads a cluster of IPv6.
func (r *reader) cluster6(t *sourceTable, x *tableScan, cluster int) {
	j, n := &r.six, 0
	for block := cluster; block < x.blocks; block += x.clusters {
		if groups := x.usedIn(block); groups != 0 {
			j.records = reserve(j.records, n, r.cpus*blockRecords)
			n = r.gather6(t, block, groups, n)
		}
	}
	if n == 0 && x.usedIn(cluster) == 0 {
		return
	}
	late := x.lateIn(cluster)
	j.records = reserve(j.records, n, len(late))
	for i := range late {
		j.records[n] = late[i].record
		n++
	}
	records := j.records[:n]
	if n <= r.mostAtOnce(len(late)) {
		r.join6(records, cluster)
		return
	}
	hash := func(e *record) uint64 { return e.joinHash(r.hashKey) }
	split(records, make([]record, n), hash, func(part []record) { r.join6(part, cluster) })
	j.records = nil // so many will not come again
}

// gather6 adds the records of a block of all CPUs to the n that there are, and returns
// how many there are then.
func (r *reader) gather6(t *sourceTable, block int, groups uint8, n int) int {
	for cpu := range r.cpus {
		region, before := r.scanner.half*r.cpus+cpu, n
		for left := groups; left != 0; left &= left - 1 {
			first := block*blockSets + bits.TrailingZeros8(left)*dirtySets
			n += gatherSets6(r.six.records[n:], t.wordsOf(region, first, dirtySets), t.namesOf(region, first, dirtySets))
		}
		r.claimed[1][cpu] += n - before
	}
	return n
}

// gatherSets6 copies the records of sets that are in use, and returns how many, like
// gatherSets4.
//
//go:noinline
func gatherSets6(to []record, words []uint64, names []names6) (n int) {
	for i := range names {
		s, t := (*[setWays * recordWords]uint64)(words[i*setWays*recordWords:]), (*[setWays]record)(to[n:])
		of := &names[i]
		t[0] = record{of[0], s[1], keyIn6(s[0])}
		t[1] = record{of[1], s[3], keyIn6(s[2])}
		t[2] = record{of[2], s[5], keyIn6(s[4])}
		t[3] = record{of[3], s[7], keyIn6(s[6])}
		n += int(used6(s[0]) + used6(s[2]) + used6(s[4]) + used6(s[6]))
	}
	return n
}

// used6 returns 1 for the word of a record that is in use, or else 0.
func used6(word uint64) uint64 { return word >> (keyShift6 + 15) & 1 }

// join6 joins records, counts and lists their sources.
func (r *reader) join6(records []record, cluster int) {
	j := &r.six
	j.begin(len(records))
	n := j.join(records, r.hashKey)
	r.emit6(j.joined[:n], j.links[:n])
	if r.sketchCluster(cluster) {
		return
	}
	for i := range n {
		if e := &j.joined[i]; e.counts != 0 && r.scanner.slots>>e.slot()&1 != 0 {
			r.sketchOf(e.slot()).note(r.tables[1].hash(e, r.seed), 1<<e.kind())
		}
	}
}

// begin makes room for n records.
func (j *joiner6) begin(n int) {
	if len(j.joined) < n {
		j.joined, j.links = make([]record, n), make([]uint32, n)
		j.index = make([]uint16, indexSize(n))
	}
}

// join joins records, and returns how many are left.
func (j *joiner6) join(records []record, key uint64) (n int) {
	index, joined, links := j.index[:indexSize(len(records))], j.joined, j.links
	mask := uint64(len(index) - 1)
	clear(index)
next:
	for i := range records {
		r, first := &records[i], uint32(0)
		h := r.joinHash(key) & mask
		for ; index[h] != 0; h = (h + 1) & mask {
			at := uint32(index[h])
			o := &joined[at-1]
			if !o.isSource(r) {
				continue
			}
			if (o.key^r.key)&^keyRetired == 0 && o.join(r) {
				continue next
			}
			if first == 0 {
				first = at
			}
		}
		joined[n], links[n] = *r, 0
		n++
		index[h] = uint16(n)
		if first != 0 {
			links[n-1] = linked | links[first-1]
			links[first-1] = uint32(n)
		}
	}
	return n
}

// joinHash is the same for all records of a source.
func (r *record) joinHash(key uint64) uint64 {
	return mix(r.address[0]*key ^ r.address[1] + uint64(r.key&slotMask))
}

// emit6 counts and lists the sources of a cluster.
func (r *reader) emit6(joined []record, links []uint32) {
	for i := range joined {
		r.tell(uint64(joined[i].key), volumeOf(joined[i].counts))
		if links[i] == 0 {
			r.emitRecords(joined[i : i+1])
			continue
		}
		if links[i]&linked != 0 {
			continue // goes out with its source
		}
		r.linked = append(r.linked[:0], joined[i])
		for next := links[i]; next != 0; next = links[next-1] &^ linked {
			r.linked = append(r.linked, joined[next-1])
		}
		r.emitRecords(r.linked)
	}
}
