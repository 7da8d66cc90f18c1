package xdp

// How many of the heaviest sources a window lists in any case, by packets, by bytes and
// by packets of each class.
const (
	HeaviestByPackets = 512
	HeaviestByBytes   = 256
	HeaviestByClass   = 128
)

// heavy tells which of the sources that are offered are among the heaviest by some
// measure. It keeps weights only: who was among the heaviest once stays listed.
type heavy struct {
	packets, bytes weights
	class          [NumClasses]weights
}

// weights are the heaviest of what was offered: a heap with the lightest on top.
type weights []uint64

// floor is the weight above which one of at most most is taken.
func (w weights) floor(most int) uint64 {
	if len(w) < most {
		return 0
	}
	return w[0]
}

// offer reports whether a weight is among the heaviest until now. Of equal ones those
// that come first are.
func (w *weights) offer(weight uint64, most int) bool {
	h := *w
	if weight <= h.floor(most) {
		return false
	}
	if len(h) < most {
		h = append(h, weight)
		*w = h
		for i := len(h) - 1; i > 0 && h[(i-1)/2] > h[i]; i = (i - 1) / 2 {
			h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
		}
		return true
	}
	h[0] = weight
	for i := 0; ; {
		least := i
		for below := 2*i + 1; below <= 2*i+2 && below < len(h); below++ {
			if h[below] < h[least] {
				least = below
			}
		}
		if least == i {
			return true
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}

// offer offers what a source sent.
func (h *heavy) offer(c *Counters) bool {
	taken := h.packets.offer(c.Packets, HeaviestByPackets)
	taken = h.bytes.offer(c.Bytes, HeaviestByBytes) || taken
	for i, n := range c.ByClass {
		taken = h.class[i].offer(n, HeaviestByClass) || taken
	}
	return taken
}

// offerOne offers what a source sent that sent only packets of one kind.
func (h *heavy) offerOne(kind int, v volume) bool {
	taken := h.packets.offer(v.packets, HeaviestByPackets)
	taken = h.bytes.offer(v.bytes, HeaviestByBytes) || taken
	return h.class[kind%NumClasses].offer(v.packets, HeaviestByClass) || taken
}

// wants reports whether a source that sent only packets of one kind would be taken.
func (h *heavy) wants(kind int, v volume) bool {
	return kind != kindPairs && (v.bytes > h.bytes.floor(HeaviestByBytes) ||
		v.packets > min(h.packets.floor(HeaviestByPackets), h.class[kind%NumClasses].floor(HeaviestByClass)))
}

// reset forgets what was offered.
func (h *heavy) reset() {
	h.packets, h.bytes = h.packets[:0], h.bytes[:0]
	for i := range h.class {
		h.class[i] = h.class[i][:0]
	}
}
