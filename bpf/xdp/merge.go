package xdp

import (
	"math/bits"
	"net/netip"
)

// merger joins the records of one source from several CPUs. It is an open
// hash table of positions, reused from window to window: a Go map would cost
// ten times as much at a million sources.
type merger struct {
	slots []mergeSlot
	used  int
}

type mergeSlot struct {
	hash   uint64
	window *Window
	at     int
}

func (m *merger) reset() {
	if len(m.slots) > 1<<16 && len(m.slots) > 16*m.used {
		m.slots = nil // the memory of a flood that is over
	}
	if m.used > 0 {
		clear(m.slots)
	}
	m.used = 0
}

// source returns the entry of address in w, which it appends when it is new.
func (m *merger) source(w *Window, address netip.Addr, hash uint64) *Source {
	if m.used*2 >= len(m.slots) {
		m.grow()
	}
	mask := uint64(len(m.slots) - 1)
	for i := m.home(hash); ; i = (i + 1) & mask {
		s := &m.slots[i]
		if s.window == nil {
			*s = mergeSlot{hash, w, len(w.Sources)}
			m.used++
			w.Sources = append(w.Sources, Source{Address: address})
			return &w.Sources[s.at]
		}
		if s.hash == hash && s.window == w && w.Sources[s.at].Address == address {
			return &w.Sources[s.at]
		}
	}
}

// home is where the search for a hash begins. Sources come in the order of the
// sets that the bits of their hash chose: by the same bits they would queue up.
func (m *merger) home(hash uint64) uint64 {
	return hash * 0x9e3779b97f4a7c15 >> (64 - bits.TrailingZeros(uint(len(m.slots))))
}

func (m *merger) grow() {
	old := m.slots
	m.slots = make([]mergeSlot, max(1024, 2*len(old)))
	mask := uint64(len(m.slots) - 1)
	for _, s := range old {
		if s.window == nil {
			continue
		}
		i := m.home(s.hash)
		for m.slots[i].window != nil {
			i = (i + 1) & mask
		}
		m.slots[i] = s
	}
}

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

func sketchAdd(registers []byte, h uint64) {
	rank := byte(min(bits.TrailingZeros64(h>>sketchBits)+1, maxRank))
	if i := h & (sketchSize - 1); registers[i] < rank {
		registers[i] = rank
	}
}

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
func (w *Window) note(h uint64, kind int) {
	if w.sketches == nil {
		w.sketches = &sketches{}
	}
	s := w.sketches
	sketchAdd(s.all[:], h)
	s.hasAll = true
	switch kind &^ kindDropped {
	case classSYN:
		sketchAdd(s.syn[:], h)
		s.hasSYN = true
	case classSYNACK:
		sketchAdd(s.synack[:], h)
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
