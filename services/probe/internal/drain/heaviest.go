package drain

// heaviest keeps the positions of the heaviest of what it is offered: a heap with the
// lightest of them on top, so that most of a million offers end at one comparison.
type heaviest struct {
	most int
	heap []weighted
}

type weighted struct {
	weight uint64
	at     int
}

// offer considers the position at. What weighs nothing is not taken, and of equal
// ones those that come first are.
func (h *heaviest) offer(at int, weight uint64) {
	switch {
	case weight == 0:
	case len(h.heap) < h.most:
		h.heap = append(h.heap, weighted{weight, at})
		for i := len(h.heap) - 1; i > 0; { // up
			above := (i - 1) / 2
			if h.heap[above].weight <= h.heap[i].weight {
				break
			}
			h.heap[above], h.heap[i] = h.heap[i], h.heap[above]
			i = above
		}
	case h.most > 0 && weight > h.heap[0].weight:
		h.heap[0] = weighted{weight, at}
		for i := 0; ; { // down
			least := i
			for _, below := range [2]int{2*i + 1, 2*i + 2} {
				if below < len(h.heap) && h.heap[below].weight < h.heap[least].weight {
					least = below
				}
			}
			if least == i {
				break
			}
			h.heap[least], h.heap[i] = h.heap[i], h.heap[least]
			i = least
		}
	}
}

// positions returns what was kept, in no order.
func (h *heaviest) positions() []int {
	out := make([]int, len(h.heap))
	for i := range h.heap {
		out[i] = h.heap[i].at
	}
	return out
}
