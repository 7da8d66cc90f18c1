package filter

import (
	"container/heap"
	"time"
)

// lapses are held leases by when they lapse, earliest first, so that a tick costs
// what lapses and not what is held. One that was replaced or removed stays in it
// until then; prune bounds how many do.
type lapses []*held

// Len implements heap.Interface.
func (l lapses) Len() int { return len(l) }

// Less implements heap.Interface.
func (l lapses) Less(i, j int) bool { return l[i].ExpiresAt.Before(l[j].ExpiresAt) }

// Swap implements heap.Interface.
func (l lapses) Swap(i, j int) { l[i], l[j] = l[j], l[i] }

// Push implements heap.Interface.
func (l *lapses) Push(x any) {
	if h, ok := x.(*held); ok {
		*l = append(*l, h)
	}
}

// Pop implements heap.Interface.
func (l *lapses) Pop() any {
	last := (*l)[len(*l)-1]
	(*l)[len(*l)-1] = nil
	*l = (*l)[:len(*l)-1]
	return last
}

// lapsed takes out the leases that are over at now and returns them.
func (s *set) lapsed(now time.Time) []*held {
	var out []*held
	for len(s.lapses) > 0 && !s.lapses[0].Live(now) {
		h, ok := heap.Pop(&s.lapses).(*held)
		if ok && s.byKey[h.Key] == h {
			s.remove(h.Key)
			out = append(out, h)
		}
	}
	return out
}

// prune forgets those that are no longer held once they are most.
func (s *set) prune() {
	if len(s.lapses) <= 2*len(s.byKey)+1024 {
		return
	}
	rest := s.lapses[:0]
	for _, h := range s.lapses {
		if s.byKey[h.Key] == h {
			rest = append(rest, h)
		}
	}
	clear(s.lapses[len(rest):])
	s.lapses = rest
	heap.Init(&s.lapses)
}
