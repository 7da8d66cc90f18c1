package xdp

import "math/bits"

// joiner6 joins the records of a cluster, like joiner4.
type joiner6 struct {
	records []record
	joined  []record
	links   []uint32
	index   []uint32
}

// cluster6 reads a cluster of IPv6.
func (r *reader) cluster6(t *sourceTable, x *tableScan, cluster int) {
	j := &r.six
	j.records = j.records[:0]
	for block := cluster; block < x.blocks; block += x.clusters {
		if groups := x.usedIn(block); groups != 0 {
			r.gather6(t, block, groups)
		}
	}
	if len(j.records) == 0 && x.usedIn(cluster) == 0 {
		return
	}
	late := x.lateIn(cluster)
	for i := range late {
		j.records = append(j.records, late[i].record)
	}
	n := len(j.records)
	if n <= max(joinMost, r.cpus*blockRecords+len(late)) {
		r.join6(j.records, cluster)
		return
	}
	hash := func(e *record) uint64 { return e.joinHash(r.hashKey) }
	split(j.records, make([]record, n), hash, func(part []record) { r.join6(part, cluster) })
	j.records = nil // so many will not come again
}

// gather6 adds the records of a block of all CPUs.
func (r *reader) gather6(t *sourceTable, block int, groups uint8) {
	j := &r.six
	for cpu := range r.cpus {
		region, before := r.scanner.half*r.cpus+cpu, len(j.records)
		for left := groups; left != 0; left &= left - 1 {
			words := t.wordsOf(region, block*blockSets+bits.TrailingZeros8(left)*dirtySets, dirtySets)
			for i := 0; i < len(words); i += t.stride {
				if words[i+t.keyAt] != 0 {
					j.records = append(j.records, t.read(words, i))
				}
			}
		}
		r.claimed[1][cpu] += len(j.records) - before
	}
}

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
		j.index = make([]uint32, indexSize(n))
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
			at := index[h]
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
		index[h] = uint32(n)
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
