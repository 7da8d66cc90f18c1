package xdp

import "math/bits"

// mix is that of hash.h: sketches made here and there merge.
func mix(x uint64) uint64 {
	x ^= x >> 32
	x *= 0x9fb21c651e98df25
	x ^= x >> 29
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	return x
}

const (
	sketchBits = 10
	sketchSize = 1 << sketchBits
	maxRank    = 33
)

// Classes as the program numbers them.
const (
	classSYN       = 0
	classSYNACK    = 1
	classTCPOther  = 3
	classUDP       = 4
	classFragLater = 6
)

// sketches are the registers of one window.
type sketches struct {
	all, syn, synack       [sketchSize]byte
	hasAll, hasSYN, hasACK bool
}

// note enters a source of the table. It costs nothing per packet.
func (s *sketches) note(h uint64, kind int) {
	i := h & (sketchSize - 1)
	rank := byte(min(bits.TrailingZeros64(h>>sketchBits)+1, maxRank))
	s.all[i] = max(s.all[i], rank)
	s.hasAll = true
	switch kind &^ kindDropped {
	case classSYN:
		s.syn[i] = max(s.syn[i], rank)
		s.hasSYN = true
	case classSYNACK:
		s.synack[i] = max(s.synack[i], rank)
		s.hasACK = true
	}
}

// sketch completes the window's sketches: sources that found no place are in the
// registers in the kernel.
func (d *Datapath) sketch(half int, w *Window) {
	if w.Truncated {
		if w.sketches == nil {
			w.sketches = &sketches{}
		}
		s := w.sketches
		for cpu := range d.cpus {
			k := &d.sketches[(half*d.cpus+cpu)*MaxSlots+int(w.Slot)]
			mergeRegisters(s.all[:], k.All[:])
			mergeRegisters(s.syn[:], k.Syn[:])
			mergeRegisters(s.synack[:], k.Synack[:])
		}
		s.hasAll = true
		s.hasSYN = s.hasSYN || w.Other.ByClass[classSYN] > 0
		s.hasACK = s.hasACK || w.Other.ByClass[classSYNACK] > 0
	}
	if s := w.sketches; s != nil {
		w.SourcesSketch = registers(&s.all, s.hasAll)
		w.SYNSketch = registers(&s.syn, s.hasSYN)
		w.SYNACKSketch = registers(&s.synack, s.hasACK)
	}
}

func registers(r *[sketchSize]byte, used bool) []byte {
	if !used {
		return nil
	}
	return r[:]
}

func mergeRegisters(into, from []byte) {
	for i, r := range from {
		into[i] = max(into[i], r)
	}
}
