package xdp

import "math/bits"

// late is a packet that was in a buffer when the window ended, and the block of sets
// that its source has.
type late struct {
	record
	block int
}

// lateOf appends what the buffers of a half hold for a table.
func (d *Datapath) lateOf(t *sourceTable, to []late, half int) []late {
	for cpu := range d.cpus {
		b := &d.batches[half*d.cpus+cpu]
		for i := range min(int(b.N), len(b.Noted)) {
			e := &b.Noted[i]
			if e.Family != uint16(t.family) {
				continue
			}
			r := e.record()
			block := t.home(t.hash(&r, d.seed)) / blockSets
			to = append(to, late{r, block})
			if e.Ports != 0 {
				r.key = r.key&(keyFamily6|keyUsed|slotMask) | kindPairs<<kindShift
				r.counts = e.pairBit(d.seed)
				to = append(to, late{r, block})
			}
		}
	}
	return to
}

// record is what the packet adds to its source.
func (e *weirNoted) record() record {
	a := e.Address.W
	r := record{key: uint32(e.Key), counts: uint64(e.Packets)<<byteBits | uint64(e.Length)}
	r.address[0] = uint64(a[0])
	if e.Family == 6 {
		r.key |= keyFamily6
		r.address = [2]uint64{uint64(a[1])<<32 | uint64(a[0]), uint64(a[3])<<32 | uint64(a[2])}
	}
	return r
}

// pairBit is the bit of a packet's ports in a bitmap of pairs; that of sources.h.
func (e *weirNoted) pairBit(seed uint64) uint64 {
	return 1 << ((uint64(bits.ReverseBytes32(e.Ports)) + seed) * pairMultiplier >> 58)
}
