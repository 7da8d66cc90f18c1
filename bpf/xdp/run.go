package xdp

import (
	"math/bits"
	"sync/atomic"
)

// openRun returns how many packets of an interface the open run of a buffer has, and
// what became of them.
func (b *weirBatch) openRun(slot int) (packets uint64, reason int) {
	like := &b.Run.Like
	key, reason := like.Key, int(like.Reason)
	packets = atomic.LoadUint64(&b.Run.Packets)
	if int(key&slotMask) != slot || like.Key != key {
		return 0, 0 // it is another by now
	}
	return packets, reason
}

// runTarget is what the open run adds to its target; as targets.h has it.
func (b *weirBatch) runTarget() weirTarget {
	run := &b.Run
	p := &run.Like.Packet
	t := weirTarget{
		Class: p.Class, Protocol: p.Protocol, Slot: uint8(run.Like.Key & slotMask), Family: p.Family,
		Packets: run.Packets, Bytes: run.Bytes, SourceBits: run.SourceBits,
	}
	t.Destination.W = p.Dst.W
	switch ports := bits.ReverseBytes32(p.Ports); p.Class {
	case classSYN:
		t.Port = uint16(ports)
	case classSYNACK, classUDP:
		t.Port = uint16(ports >> 16)
	}
	if int(run.Like.Key)>>kindShift&kindDropped != 0 {
		t.Dropped = t.Packets
	}
	return t
}

// countRun counts for its verdict what the open run of a drained buffer had.
func (d *Datapath) countRun(region int) {
	run := &d.batches[region].Run
	if run.Packets == 0 {
		return
	}
	v := &d.verdicts[region*MaxSlots+int(run.Like.Key&slotMask)]
	atomic.AddUint64(&v.ByReason[int(run.Like.Reason)&(len(v.ByReason)-1)], run.Packets)
	run.Told = 0 // nothing is like it
	run.Packets = 0
}
