package xdp

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// late is a packet that was in a buffer when the window ended, and the cluster of its
// source.
type late struct {
	record
	cluster int
}

// lateOf appends what the buffers of a half hold for a table of which so many sets are
// hot.
func (d *Datapath) lateOf(t *sourceTable, to []late, half, hot int) []late {
	for cpu := range d.cpus {
		noted := d.batches[half*d.cpus+cpu].noted()
		for i := range noted {
			e := &noted[i]
			if e.Family != t.family {
				continue
			}
			r := e.record()
			cluster := t.first(t.hash(&r, d.seed), hot) / blockSets
			to = append(to, late{r, cluster})
			if e.Ports != 0 {
				to = append(to, late{r.pairs(e.pairBit(d.seed)), cluster})
			}
		}
	}
	return to
}

// sortLate sorts records by cluster into other memory, which may be taken from spare,
// and returns them and theirs.
func sortLate(records, spare []late, clusters int) (sorted, rest []late) {
	next := make([]int, clusters+1)
	for i := range records {
		next[records[i].cluster+1]++
	}
	for i := range clusters {
		next[i+1] += next[i]
	}
	sorted = slices.Grow(spare[:0], len(records))[:len(records)]
	for i := range records {
		at := &next[records[i].cluster]
		sorted[*at] = records[i]
		*at++
	}
	return sorted, records[:0]
}

// record is what the packet adds to its source.
func (e *weirPacket) record() record {
	a := e.Src.W
	r := record{key: plainKey(e.What & keyMask), counts: e.Volume}
	r.address[0] = uint64(a[0])
	if e.Family == 6 {
		r.key |= keyFamily6
		r.address = [2]uint64{uint64(a[1])<<32 | uint64(a[0]), uint64(a[3])<<32 | uint64(a[2])}
	}
	return r
}

// pairBit is the bit of a packet's ports in a bitmap of pairs; that of sources.h.
func (e *weirPacket) pairBit(seed uint64) uint64 {
	return 1 << ((uint64(bits.ReverseBytes32(e.Ports)) + seed) * pairMultiplier >> 58)
}

// noted returns the packets that are in the buffer.
func (b *weirBatch) noted() []weirPacket { return b.Noted[:b.count()] }

// count is how many that are.
func (b *weirBatch) count() uint32 {
	return min(atomic.LoadUint32(&b.Filled)/notedSize, uint32(len(b.Noted)))
}
