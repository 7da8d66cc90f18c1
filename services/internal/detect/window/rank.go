package window

import (
	"slices"

	"github.com/weir-net/weir/schemas/counts"
)

// ranking is the heaviest of many by one measure, heaviest first.
type ranking[T any] struct {
	places int
	weight func(*T) uint64
	best   []ranked
}

type ranked struct {
	weight uint64
	slot   int32
}

// offer gives x a place if it is heavy enough. Of equal ones, the one that was
// offered first stays before.
func (r *ranking[T]) offer(slot int32, x *T) {
	w := r.weight(x)
	if w == 0 || len(r.best) == r.places && w <= r.best[len(r.best)-1].weight {
		return
	}
	if len(r.best) < r.places {
		r.best = append(r.best, ranked{})
	}
	at := len(r.best) - 1 // of the one that leaves, or nobody's yet
	for ; at > 0 && r.best[at-1].weight < w; at-- {
		r.best[at] = r.best[at-1]
	}
	r.best[at] = ranked{w, slot}
}

// everything returns the slots of all rows that count anything, or nil if there
// are more than limit: where all have a place, nobody need be ranked.
func (l *ledger[K]) everything(limit int) []int32 {
	if len(l.rows)-len(l.free) > limit {
		return nil
	}
	out := make([]int32, 0, len(l.rows)-len(l.free))
	for i := range l.rows {
		if r := &l.rows[i]; r.windows > 0 && r.short.Packets+r.long.Packets > 0 {
			out = append(out, int32(i))
		}
	}
	return out
}

// choose returns the indexes of at most limit of many: all of the first rankings,
// then the places of the others, rank by rank. What skip says is left out.
func choose[T any](many []T, skip func(*T) bool, limit int, first, others []*ranking[T]) []int32 {
	all := slices.Concat(first, others)
	for i := range many {
		if skip(&many[i]) {
			continue
		}
		for _, r := range all {
			r.offer(int32(i), &many[i])
		}
	}
	var out []int32
	seen := map[int32]bool{}
	take := func(slot int32) {
		if !seen[slot] && len(out) < limit {
			seen[slot] = true
			out = append(out, slot)
		}
	}
	for _, r := range first {
		for _, x := range r.best {
			take(x.slot)
		}
	}
	for rank, more := 0, true; more; rank++ {
		more = false
		for _, r := range others {
			if rank < len(r.best) {
				more = true
				take(r.best[rank].slot)
			}
		}
	}
	return out
}

// passed is what XDP let through.
func passed(c *counts.Counters) uint64 { return c.Packets - min(c.Packets, c.Dropped) }
