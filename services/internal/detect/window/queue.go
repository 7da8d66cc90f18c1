package window

import "slices"

// queue holds what came last: pushed at its end, dropped at its beginning. Its
// elements lie side by side, so that walking over them waits for memory once.
type queue[T any] struct {
	items []T
	head  int // items before it have been dropped
	base  int // how many were pushed before items[0]
}

// live returns what has not been dropped, oldest first.
func (q *queue[T]) live() []T { return q.items[q.head:] }

// end is the position of the next item: positions count from the first item ever.
func (q *queue[T]) end() int { return q.base + len(q.items) }

// from returns the items from a position on.
func (q *queue[T]) from(position int) []T { return q.items[position-q.base:] }

// drop forgets the oldest n.
func (q *queue[T]) drop(n int) {
	clear(q.items[q.head : q.head+n]) // they may hold pointers
	q.head += n
}

// dropTo forgets everything before a position.
func (q *queue[T]) dropTo(position int) { q.drop(position - q.base - q.head) }

// room makes use of the places of dropped items again, and gives back memory that a
// flood has left behind. It must come before a push.
func (q *queue[T]) room() {
	const spare = 64
	live := q.live()
	switch {
	case cap(q.items) > 4*len(live)+spare:
		q.items = slices.Clone(live)
	case 4*q.head > len(q.items):
		n := copy(q.items, live)
		clear(q.items[n:])
		q.items = q.items[:n]
	default:
		return
	}
	q.base += q.head
	q.head = 0
}
