package filter

// lapse is when a lease ends, as long as its place has this generation.
type lapse struct {
	expires    int64
	lease      ref
	generation uint32
}

// lapses are a heap, the earliest first, so that a tick costs what lapses and not
// what is held. One of a lease that was replaced or removed stays in it until then;
// prune bounds how many do. container/heap would allocate for each.
type lapses []lapse

func (l *lapses) push(x lapse) {
	*l = append(*l, x)
	h := *l
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if h[parent].expires <= h[i].expires {
			return
		}
		h[parent], h[i] = h[i], h[parent]
		i = parent
	}
}

func (l *lapses) pop() lapse {
	h := *l
	first, last := h[0], len(h)-1
	h[0] = h[last]
	*l = h[:last]
	l.sink(0)
	return first
}

// sink moves the one at i behind those that are earlier.
func (l *lapses) sink(i int) {
	h := *l
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h[child+1].expires < h[child].expires {
			child++
		}
		if h[i].expires <= h[child].expires {
			return
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}

// isHeld reports whether the lease is still the one that ends then.
func (s *set) isHeld(l lapse) bool {
	h := s.at(l.lease)
	return h.used && h.generation == l.generation
}

// lapsed takes out leases that are over at now, at most most of them, and appends
// their matches.
func (s *set) lapsed(out []match, now int64, most int) []match {
	for len(s.lapses) > 0 && s.lapses[0].expires <= now && len(out) < most {
		if l := s.lapses.pop(); s.isHeld(l) {
			out = append(out, s.at(l.lease).match)
			s.remove(l.lease)
		}
	}
	return out
}

// prune forgets those that are no longer held once they are most.
func (s *set) prune() {
	if len(s.lapses) <= 2*s.n+1024 {
		return
	}
	rest := s.lapses[:0]
	for _, l := range s.lapses {
		if s.isHeld(l) {
			rest = append(rest, l)
		}
	}
	s.lapses = rest
	for i := len(rest)/2 - 1; i >= 0; i-- {
		s.lapses.sink(i)
	}
}
