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

// sketches are the registers of one window. While sources are entered, all has those
// that are not in another; complete adds these.
type sketches struct {
	all, syn, synack       [sketchSize]byte
	hasAll, hasSYN, hasACK bool
}

// Bits of kinds.
const (
	kindsSYN    = 1<<classSYN | 1<<(classSYN|kindDropped)
	kindsSYNACK = 1<<classSYNACK | 1<<(classSYNACK|kindDropped)
)

// note enters a source that sent packets of some kinds, which are bits.
func (s *sketches) note(hash uint64, kinds uint32) {
	if kinds&kindsSYN != 0 {
		enter(&s.syn, hash)
		s.hasSYN = true
	}
	if kinds&kindsSYNACK != 0 {
		enter(&s.synack, hash)
		s.hasACK = true
	}
	if kinds&(kindsSYN|kindsSYNACK) == 0 {
		enter(&s.all, hash)
		s.hasAll = true
	}
}

// note4 enters sources of a record each, all of one kind.
func (s *sketches) note4(sources []record4, seed uint64, kind int) {
	to, has := &s.all, &s.hasAll
	switch kind &^ kindDropped {
	case classSYN:
		to, has = &s.syn, &s.hasSYN
	case classSYNACK:
		to, has = &s.synack, &s.hasACK
	}
	for _, e := range sources {
		if e.counts != 0 {
			enter(to, hash4(e.word, seed))
			*has = true
		}
	}
}

// enter enters a hash in registers.
func enter(registers *[sketchSize]byte, hash uint64) {
	hash /= blockSets
	r := &registers[hash%sketchSize]
	*r = max(*r, byte(bits.TrailingZeros64(hash/sketchSize|1<<(maxRank-1)))+1)
}

// complete is called when all sources are entered.
func (s *sketches) complete() {
	mergeRegisters(s.all[:], s.syn[:])
	mergeRegisters(s.all[:], s.synack[:])
	s.hasAll = s.hasAll || s.hasSYN || s.hasACK
}

// merge returns what both have seen; either may be nil.
func (s *sketches) merge(o *sketches) *sketches {
	if s == nil {
		return o
	}
	if o != nil {
		mergeRegisters(s.all[:], o.all[:])
		mergeRegisters(s.syn[:], o.syn[:])
		mergeRegisters(s.synack[:], o.synack[:])
		s.hasAll, s.hasSYN, s.hasACK = s.hasAll || o.hasAll, s.hasSYN || o.hasSYN, s.hasACK || o.hasACK
	}
	return s
}

// sketchOf returns the sketches of a slot.
func (r *reader) sketchOf(slot int) *sketches {
	if r.sketches[slot] == nil {
		r.sketches[slot] = &sketches{}
	}
	return r.sketches[slot]
}

// sketchCluster enters all sources of a cluster at once, if it can. The number of the
// cluster are bits of the hash that its sources share, and in a large table a sketch
// asks for no other: its register is chosen by the lowest of them, and its rank by the
// next, unless these are all 0.
func (r *reader) sketchCluster(cluster int) bool {
	known := cluster/sketchSize != 0
	for slots := r.seen; slots != 0; slots &= slots - 1 {
		slot := bits.TrailingZeros64(slots)
		if known {
			r.sketchOf(slot).note(uint64(cluster)*blockSets, r.kinds[slot])
		}
		r.kinds[slot] = 0
	}
	r.seen = 0
	return known
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
		s.complete()
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
