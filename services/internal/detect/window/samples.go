package window

import (
	"encoding/binary"

	"github.com/weir-net/weir/schemas/counts"
)

// drop forgets the samples that have left the last 10 s, or are too many.
func (s *State) drop() {
	all := s.samples.live()
	n := max(0, len(all)+1-maxSamples)
	for n < len(all) && all[n].end <= s.clock-long {
		n++
	}
	for i := range all[:n] {
		s.move(&all[i], shares{}, true)
	}
	next := sample{lines: s.lines.end(), registers: s.registers.end(), targets: s.targets.end()}
	if n < len(all) {
		next = all[n]
	}
	s.samples.drop(n)
	s.lines.dropTo(next.lines)
	s.registers.dropTo(next.registers)
	s.targets.dropTo(next.targets)
}

// enter packs what the window counted, and gives its sources and targets their
// places in the ledgers.
func (s *State) enter(r *counts.Record) {
	s.samples.room()
	s.lines.room()
	s.registers.room()
	s.targets.room()
	s.pairs.room()
	t := r.Totals
	w := sample{end: s.clock, duration: r.Duration, lines: s.lines.end(), registers: s.registers.end(), targets: s.targets.end(), pairs: s.pairs.end()}
	w.in = shares{w.share(s.clock, short), w.share(s.clock, long)}
	s.short.move(&t.Counters, w.duration, 0, w.in.short)
	s.short.moveFrames(t.NonIP, t.Malformed, 0, w.in.short)
	s.long.move(&t.Counters, w.duration, 0, w.in.long)
	for i, registers := range [sketches][]byte{sketchAll: t.SourcesSketch, sketchSYN: t.SYNSourcesSketch, sketchSYNACK: t.SYNACKSourcesSketch} {
		var all []byte
		if s.registers.items, all = pack(s.registers.items, uint8(i), registers); all != nil {
			if w.dense == nil {
				w.dense = new([sketches][]byte)
			}
			w.dense[i] = all
		}
	}
	b := appendLine(s.lines.items, &line{counters: t.Counters})
	b = binary.AppendUvarint(b, t.NonIP)
	b = binary.AppendUvarint(b, t.Malformed)
	all := keep(r.Sources)
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		x := &all[i]
		slot := s.sources.enter(x.Address, &x.Counters, w.in)
		b = appendLine(b, &line{slot, x.Counters})
		if x.PortPairs != 0 {
			s.pairs.items = append(s.pairs.items, seen{slot: slot, bits: x.PortPairs})
		}
	}
	b = s.enterTargets(b, &s.victims, t.Victims, w.in)
	s.lines.items = s.enterTargets(b, &s.ports, t.Ports, w.in)
	s.samples.items = append(s.samples.items, w)
}

func (s *State) enterTargets(b []byte, l *ledger[target], all []counts.Target, in shares) []byte {
	all = keepTargets(all)
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		t := &all[i]
		x := line{counters: counts.Counters{Packets: t.Packets, Bytes: t.Bytes, Dropped: t.Dropped}}
		x.slot = l.enter(target{t.Destination, t.Class, t.Protocol, t.Port}, &x.counters, in)
		b = appendLine(b, &x)
		if t.SourceBits != 0 {
			s.targets.items = append(s.targets.items, seen{x.slot, l == &s.ports, t.SourceBits})
		}
	}
	return b
}

// move changes the shares with which the window is in the sums.
func (s *State) move(w *sample, to shares, leave bool) {
	if w.in == to && !leave {
		return
	}
	c := cursor{b: s.lines.from(w.lines)}
	var totals line
	c.line(&totals)
	nonIP, malformed := c.uint(), c.uint()
	s.short.move(&totals.counters, w.duration, w.in.short, to.short)
	s.short.moveFrames(nonIP, malformed, w.in.short, to.short)
	s.long.move(&totals.counters, w.duration, w.in.long, to.long)
	s.sources.move(&c, w.in, to, leave)
	s.victims.move(&c, w.in, to, leave)
	s.ports.move(&c, w.in, to, leave)
	w.in = to
}

// renumber gives what is remembered of sources the slots to which their rows have
// moved; nil: nowhere.
func (s *State) renumber(moved []int32) {
	if moved == nil {
		return
	}
	all, old := s.samples.live(), s.lines
	s.lines = queue[byte]{base: old.end()}
	for i := range all {
		c := cursor{b: old.from(all[i].lines)}
		all[i].lines = s.lines.end()
		var x line
		c.line(&x)
		c.uint()
		c.uint()
		b := append(s.lines.items, c.b[:c.at]...)
		n := c.uint()
		b = binary.AppendUvarint(b, n)
		for range n {
			c.line(&x)
			x.slot = moved[x.slot]
			b = appendLine(b, &x)
		}
		end := len(c.b)
		if i+1 < len(all) {
			end -= old.end() - all[i+1].lines
		}
		s.lines.items = append(b, c.b[c.at:end]...)
	}
	pairs := s.pairs.live()
	for i := range pairs {
		pairs[i].slot = moved[pairs[i].slot]
	}
}
