package xdp

import (
	"math/bits"
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
			if e.Packet.Family != t.family {
				continue
			}
			r := e.record()
			cluster := t.first(t.hash(&r, d.seed), hot) / blockSets
			to = append(to, late{r, cluster})
			if e.Packet.Ports != 0 {
				r.key = r.key&(keyFamily6|keyUsed|slotMask) | kindPairs<<kindShift
				r.counts = e.pairBit(d.seed)
				to = append(to, late{r, cluster})
			}
		}
	}
	return to
}

// record is what the packet adds to its source.
func (e *weirNoted) record() record {
	a := e.Packet.Src.W
	r := record{key: uint32(e.Key), counts: uint64(e.Packet.Packets)<<byteBits | uint64(e.Packet.Length)}
	r.address[0] = uint64(a[0])
	if e.Packet.Family == 6 {
		r.key |= keyFamily6
		r.address = [2]uint64{uint64(a[1])<<32 | uint64(a[0]), uint64(a[3])<<32 | uint64(a[2])}
	}
	return r
}

// pairBit is the bit of a packet's ports in a bitmap of pairs; that of sources.h.
func (e *weirNoted) pairBit(seed uint64) uint64 {
	return 1 << ((uint64(bits.ReverseBytes32(e.Packet.Ports)) + seed) * pairMultiplier >> 58)
}

// noted returns the packets that are in the buffer.
func (b *weirBatch) noted() []weirNoted { return b.Noted[:min(int(b.N), len(b.Noted))] }

// uncounted returns those that are not counted at all yet: of the others, only the
// source is not.
func (b *weirBatch) uncounted() []weirNoted {
	noted := b.noted()
	return noted[min(int(b.Kept), len(noted)):]
}

// target is what the packet adds to its target; as targets.h has it.
func (e *weirNoted) target() weirTarget {
	p := &e.Packet
	t := weirTarget{
		Class: p.Class, Protocol: p.Protocol, Slot: uint8(e.Key & slotMask), Family: p.Family,
		Packets: uint64(p.Packets), Bytes: uint64(p.Length),
	}
	t.Destination.W = p.Dst.W
	switch ports := bits.ReverseBytes32(p.Ports); p.Class {
	case classSYN:
		t.Port = uint16(ports)
	case classSYNACK, classUDP:
		t.Port = uint16(ports >> 16)
	}
	if int(e.Key)>>kindShift&kindDropped != 0 {
		t.Dropped = t.Packets
	}
	t.SourceBits = 1 << (e.Set & 63)
	return t
}

// countBuffered counts for leases and verdicts what the drained buffers held.
func (d *Datapath) countBuffered(half int) {
	d.countListed(half)
	for region := half * d.cpus; region < (half+1)*d.cpus; region++ {
		b := &d.batches[region]
		late := b.uncounted()
		for i := range late {
			e := &late[i]
			v := &d.verdicts[region*MaxSlots+int(e.Key&slotMask)]
			atomic.AddUint64(&v.ByReason[int(e.Reason)&(len(v.ByReason)-1)], uint64(e.Packet.Packets))
		}
		b.N, b.Kept, b.Listed = 0, 0, 0
	}
}
