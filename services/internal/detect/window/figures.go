package window

// recent is the first sample that has a share of the last second.
func (s *State) recent() int {
	all := s.samples.live()
	i := len(all)
	for i > 0 && all[i-1].in.short > 0 {
		i--
	}
	return i
}

// estimate sets how many sources were seen: first in the last second, then in what
// was before it as well.
func (s *State) estimate() {
	p, all, registers := &s.record, s.samples.live(), s.registers.live()
	recent := s.recent()
	first := len(registers)
	if recent < len(all) {
		first -= s.registers.end() - all[recent].registers
	}
	var u [sketches]union
	add := func(samples []sample, registers []register) {
		for _, r := range registers {
			u[r.sketch].set(r)
		}
		for i := range samples {
			for j := 0; samples[i].dense != nil && j < sketches; j++ {
				u[j].add(samples[i].dense[j])
			}
		}
	}
	add(all[recent:], registers[first:])
	p.Sources1s, p.SYNSources1s, p.SYNACKSources1s = u[sketchAll].distinct(), u[sketchSYN].distinct(), u[sketchSYNACK].distinct()
	add(all[:recent], registers[:first])
	p.Sources10s, p.SYNSources10s, p.SYNACKSources10s = u[sketchAll].distinct(), u[sketchSYN].distinct(), u[sketchSYNACK].distinct()
}

// gather sets the bitmaps of all rows.
func (s *State) gather() {
	s.sources.forget()
	s.victims.forget()
	s.ports.forget()
	for _, x := range s.pairs.live() {
		s.sources.rows[x.slot].shortBits |= x.bits
	}
	all, targets := s.samples.live(), s.targets.live()
	recent := len(targets)
	if i := s.recent(); i < len(all) {
		recent -= s.targets.end() - all[i].targets
	}
	for i, x := range targets {
		rows := s.victims.rows
		if x.port {
			rows = s.ports.rows
		}
		rows[x.slot].longBits |= x.bits
		if i >= recent {
			rows[x.slot].shortBits |= x.bits
		}
	}
}
