package window

import (
	"math"

	"github.com/weir-net/weir/schemas/counts"
)

// row is one source or target over both spans.
type row[K comparable] struct {
	key         K
	windows     int32 // how many of the remembered windows have it; 0: the slot is free
	short, long counts.Counters
	shortBits   uint64 // set when the windows are looked through
	longBits    uint64 // the same, of targets
}

// free reports whether nothing is in the slot.
func (r *row[K]) free() bool { return r.windows == 0 }

// ledger adds up what windows counted by key. A window is entered once and its
// share of a span is then moved up or down: what a step costs does not grow with
// the number of windows that are remembered. All sums are of whole numbers, so
// that what was added is taken away exactly.
type ledger[K comparable] struct {
	slots map[K]int32
	rows  []row[K]
	free  []int32
}

// enter gives key a slot, and adds what it counted to the sums with these shares.
func (l *ledger[K]) enter(key K, c *counts.Counters, in shares) int32 {
	slot, ok := l.slots[key]
	switch {
	case ok:
	case len(l.free) > 0:
		slot = l.free[len(l.free)-1]
		l.free = l.free[:len(l.free)-1]
		l.rows[slot] = row[K]{key: key}
	default:
		slot = int32(len(l.rows))
		l.rows = append(l.rows, row[K]{key: key})
	}
	if !ok {
		if l.slots == nil {
			l.slots = map[K]int32{}
		}
		l.slots[key] = slot
	}
	r := &l.rows[slot]
	r.windows++
	shift(&r.short, c, 0, in.short)
	shift(&r.long, c, 0, in.long)
	return slot
}

// shares are the parts of a window that lie in the two spans.
type shares struct{ short, long float64 }

// move changes the shares with which the packed lines of a window are in the sums.
// Those whose shares become zero for good leave.
func (l *ledger[K]) move(c *cursor, from, to shares, leave bool) {
	var x line
	for range c.uint() {
		c.line(&x)
		r := &l.rows[x.slot]
		if from.short != to.short {
			shift(&r.short, &x.counters, from.short, to.short)
		}
		if from.long != to.long {
			shift(&r.long, &x.counters, from.long, to.long)
		}
		if !leave {
			continue
		}
		if r.windows--; r.windows == 0 {
			delete(l.slots, r.key)
			*r = row[K]{}
			l.free = append(l.free, x.slot)
		}
	}
}

// forget clears the bitmaps.
func (l *ledger[K]) forget() {
	for i := range l.rows {
		l.rows[i].shortBits, l.rows[i].longBits = 0, 0
	}
}

// slack is how many free slots are left alone.
const slack = 1024

// shrink gives back the memory of a flood that has passed. It returns the new slot
// of each old one, or nil if nothing has changed.
func (l *ledger[K]) shrink() []int32 {
	live := len(l.rows) - len(l.free)
	if len(l.free) < slack || len(l.free) < 3*live {
		return nil
	}
	moved := make([]int32, len(l.rows))
	rows, slots := make([]row[K], 0, live), make(map[K]int32, live)
	for i := range l.rows {
		if l.rows[i].windows > 0 {
			moved[i] = int32(len(rows))
			slots[l.rows[i].key] = moved[i]
			rows = append(rows, l.rows[i])
		}
	}
	l.rows, l.slots, l.free = rows, slots, nil
	return moved
}

// part is the share of n, in whole packets or bytes.
func part(n uint64, share float64) uint64 {
	switch share {
	case 0:
		return 0
	case 1:
		return n
	}
	return uint64(math.Round(float64(n) * share))
}

// shift takes c out of sum with one share and puts it in with another. The
// packets of a part are those of its classes, so that they still add up.
func shift(sum, c *counts.Counters, from, to float64) {
	diff := func(n uint64) uint64 { return part(n, to) - part(n, from) } // wraps, and so does the addition
	var classes uint64
	for i, n := range c.ByClass {
		if n > 0 {
			d := diff(n)
			sum.ByClass[i] += d
			classes += d
		}
	}
	if c.ByClass == (counts.Counters{}).ByClass {
		classes = diff(c.Packets) // a target, which is of one class
	}
	sum.Packets += classes
	sum.Bytes += diff(c.Bytes)
	if c.UDPBytes > 0 {
		sum.UDPBytes += diff(c.UDPBytes)
	}
	if c.Dropped > 0 {
		sum.Dropped += diff(c.Dropped)
	}
}
