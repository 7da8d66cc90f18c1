package xdp

import (
	"iter"
	"math/bits"
	"sync/atomic"
)

// Of the word of a run with key, protocol, reason and family, as in types.h.
const (
	whatProtocol = 16
	whatReason   = 24
	whatIPv6     = 1 << 31
	reasonMask   = 63
)

func (r *weirRun) slot() int   { return int(r.What & slotMask) }
func (r *weirRun) reason() int { return int(r.What>>whatReason) & reasonMask }

// uncounted returns what a buffer holds that is still to be counted for its verdict and
// target: its open runs, and what was noted since the last batch, a run for each. Packets
// go the same way in the kernel: those that do meanwhile are missed, and never seen twice.
func (b *weirBatch) uncounted(seed uint64) iter.Seq[*weirRun] {
	return func(yield func(*weirRun) bool) {
		for i := range b.Runs {
			what := atomic.LoadUint32(&b.Runs[i].What)
			r := b.Runs[i]
			r.Volume = atomic.LoadUint64(&b.Runs[i].Volume)
			if r.Volume == 0 || atomic.LoadUint32(&b.Runs[i].What) != what {
				continue // it is another by now
			}
			if !yield(&r) {
				return
			}
		}
		first := atomic.LoadUint32(&b.First)
		for i := first; i < b.count(); i++ {
			if !yield(b.Noted[i].run(seed)) {
				return
			}
		}
	}
}

// run is the packet as a run of its own.
func (e *weirPacket) run(seed uint64) *weirRun {
	r := weirRun{Ports: e.Ports, What: e.What, Volume: e.Volume}
	r.Dst.W = e.Dst.W
	source := e.record()
	hash := hash4(source.address[0], seed)
	if e.Family == 6 {
		hash = hash6(source.address[0], source.address[1], uint64(source.slot()), seed)
	}
	r.SourceBits = 1 << (hash & 63)
	return &r
}

// target is what a run adds to its target; as targets.h has it.
func (r *weirRun) target() weirTarget {
	kind, v := int(r.What>>kindShift)&kindMask, volumeOf(r.Volume)
	t := weirTarget{
		Class: uint8(kind & (NumClasses - 1)), Protocol: uint8(r.What >> whatProtocol), Slot: uint8(r.slot()), Family: 4,
		Packets: v.packets, Bytes: v.bytes, SourceBits: r.SourceBits,
	}
	t.Destination.W = r.Dst.W
	if r.What&whatIPv6 != 0 {
		t.Family = 6
	}
	switch ports := bits.ReverseBytes32(r.Ports); t.Class {
	case classSYN:
		t.Port = uint16(ports)
	case classSYNACK, classUDP:
		t.Port = uint16(ports >> 16)
	}
	if kind&kindDropped != 0 {
		t.Dropped = t.Packets
	}
	return t
}

// countVerdicts counts for their verdicts what a drained buffer held, and empties it. No
// packet is like a run of nothing: its key says that it is used.
func (d *Datapath) countVerdicts(region int) {
	b := &d.batches[region]
	for r := range b.uncounted(d.seed) {
		v := &d.verdicts[region*MaxSlots+r.slot()]
		atomic.AddUint64(&v.ByReason[r.reason()], volumeOf(r.Volume).packets)
	}
	b.Runs = [len(b.Runs)]weirRun{}
	b.Filled, b.Kept, b.Dropping, b.First, b.SourceBits, b.Fruitless = 0, 0, 0, 0, 0, [2]uint32{}
}
