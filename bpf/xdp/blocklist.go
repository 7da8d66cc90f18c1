package xdp

import (
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// Of maps.h and types.h.
const (
	listedWays = 8
	untilShift = 27
	untilAsk   = 1
	untilNever = 1<<32 - 1
	nobody     = 1<<32 - 1 // in place of a lease
	// More sets are taken when the ways of those in use are so full on average: one
	// lease in forty finds its set full then, and goes to the one beside it.
	listedPerSet  = 5
	listedSetsMin = 64
)

// blocklist is what the program asks first: sets of single IPv4 sources, and bits
// for the sources that have any lease. The program reads both while they change.
//
// As many sets are in use as the leases need: ten thousand leases that lie close
// together stay in a core's cache, and those that are scattered do not. n sets are
// those from n to 2n-1, so that other sizes are other sets: the new ones are filled
// while packets read the old ones.
type blocklist struct {
	sets     []weirListed4
	leases   []weirLeaseSet      // of the sets
	counts   []weirListedCount   // what the sets' sources lost since it was last settled
	size     uint32              // sets in use, a power of two
	largest  uint32              // as many were in use at some time
	n        int                 // listed sources, with those in overflow
	overflow map[uint32][]uint32 // by set: leases whose set and the one beside it are full, which are in the map exact
	targeted []uint64
	seed     uint64
	prefilter
}

// listedSets returns how many sets are used for n leases.
func listedSets(n int) uint32 {
	return max(listedSetsMin, uint32(1)<<bits.Len(uint((n-1)/listedPerSet)))
}

func (b *blocklist) setOf(word uint32) uint32 {
	return b.size | uint32(hash4(uint64(word), b.seed))&(b.size-1)
}

// untilOf is what the program reads of a lease beside the address.
func untilOf(l *weirLease) uint32 {
	switch {
	case Action(l.Action) != ActionDrop || l.Interfaces != ^uint64(0):
		return untilAsk
	case l.Expires == 0:
		return untilNever
	}
	return uint32(min(max(l.Expires>>untilShift, untilAsk), untilNever-1))
}

// add lists a source in its set, or in the one beside it, and reports whether either
// had room.
func (b *blocklist) add(word, lease, until uint32) bool {
	home := b.setOf(word)
	b.n++
	for _, s := range [...]uint32{home, home ^ 1} {
		if w := b.freeWay(s); w >= 0 {
			b.fill(s, w, word, lease, until)
			return true
		}
	}
	b.overflow[home] = append(b.overflow[home], lease)
	return false
}

// freeWay returns the first free way of a set, or -1. Ways are taken in order: a set
// whose last way is in use is full.
func (b *blocklist) freeWay(s uint32) int {
	for w := range listedWays {
		if b.sets[s].Until[w] == 0 {
			return w
		}
	}
	return -1
}

func (b *blocklist) isFull(s uint32) bool { return b.sets[s].Until[listedWays-1] != 0 }

// find returns the set and the way of a listed source, or -1.
func (b *blocklist) find(word uint32) (set uint32, way int) {
	s := b.setOf(word)
	if w := b.findIn(s, word); w >= 0 || !b.isFull(s) {
		return s, w
	}
	return s ^ 1, b.findIn(s^1, word)
}

// isDropped reports whether the sets say that a source is dropped at that time.
func (b *blocklist) isDropped(word uint32, now time.Duration) bool {
	s, w := b.find(word)
	return w >= 0 && b.sets[s].Until[w] > uint32(now>>untilShift)
}

func (b *blocklist) findIn(s, word uint32) int {
	set := &b.sets[s]
	for w := range listedWays {
		if set.Address[w] == word && set.Until[w] != 0 {
			return w
		}
	}
	return -1
}

// lease returns the lease of a listed source.
func (b *blocklist) lease(word uint32, leases []weirLease) (lease uint32, ok bool) {
	s, w := b.find(word)
	if w >= 0 {
		return b.leaseAt(s, w), true
	}
	if !b.isFull(s) { // nobody waits
		return 0, false
	}
	for _, i := range b.overflow[b.setOf(word)] {
		if leases[i].Source.W[0] == word {
			return i, true
		}
	}
	return 0, false
}

// renew changes what the program reads of a lease, and reports whether that is less.
func (b *blocklist) renew(word, until uint32) (less bool) {
	s, w := b.find(word)
	if w < 0 {
		return false
	}
	return atomic.SwapUint32(&b.sets[s].Until[w], until) > until
}

func (b *blocklist) leaseAt(s uint32, w int) uint32 { return b.leases[s].Of[w] }

// write puts a source in the place of another. The program takes what stands beside an
// address for its own: at no time may an address stand beside another's. Nor may the
// way look free, since the set would not look full: meanwhile it is of a source that
// no packet asks for here.
func (b *blocklist) write(s uint32, w int, word, lease, until uint32) {
	set := &b.sets[s]
	atomic.StoreUint32(&set.Address[w], b.elsewhere(s))
	atomic.StoreUint32(&b.leases[s].Of[w], lease)
	atomic.StoreUint32(&set.Until[w], until)
	atomic.StoreUint32(&set.Address[w], word)
}

// elsewhere returns a source that is not looked for in a set, nor in the one beside it.
func (b *blocklist) elsewhere(s uint32) (word uint32) {
	for b.setOf(word)&^1 == s&^1 {
		word++
	}
	return word
}

// fill fills a free way: nobody reads the rest of it before it says until when.
func (b *blocklist) fill(s uint32, w int, word, lease, until uint32) {
	set := &b.sets[s]
	set.Address[w] = word
	b.leases[s].Of[w] = lease
	atomic.StoreUint32(&set.Until[w], until)
}

// move puts a source in the place of another, and what it lost so far to its lease.
func (b *blocklist) move(s uint32, w int, from uint32, v int, leases []weirLease) {
	b.settle(leases, from, v, BootTime())
	b.write(s, w, b.sets[from].Address[v], b.leaseAt(from, v), b.sets[from].Until[v])
}

// remove takes a source off the list. Leases that waited for the room that this makes
// are returned: they must leave the map exact.
func (b *blocklist) remove(word, lease uint32, leases []weirLease) (moved []uint32, wasListed bool) {
	home := b.setOf(word)
	waiting := b.overflow[home]
	if i := slices.Index(waiting, lease); i >= 0 {
		b.n--
		b.setWaiting(home, slices.Delete(waiting, i, i+1))
		return nil, false
	}
	s, w := b.find(word)
	if w < 0 {
		return nil, true
	}
	b.n--
	b.settle(leases, s, w, BootTime())
	return b.release(s, w, leases), true
}

// release gives a way to whoever looks for one in the set: a source whose set it is but
// which is in the one beside it, or one that waits. Packets look for those only where
// a set is full. Else the way becomes free.
func (b *blocklist) release(s uint32, w int, leases []weirLease) (moved []uint32) {
	if v := b.guestOf(s); v >= 0 {
		b.move(s, w, s^1, v, leases)
		return b.release(s^1, v, leases)
	}
	for _, home := range [...]uint32{s, s ^ 1} {
		if waiting := b.overflow[home]; len(waiting) > 0 {
			i := waiting[len(waiting)-1]
			b.setWaiting(home, waiting[:len(waiting)-1])
			b.write(s, w, leases[i].Source.W[0], i, untilOf(&leases[i]))
			return []uint32{i}
		}
	}
	last := listedWays - 1
	for b.sets[s].Until[last] == 0 {
		last--
	}
	if w != last {
		b.move(s, w, s, last, leases)
	} else {
		atomic.StoreUint32(&b.leases[s].Of[last], nobody)
	}
	atomic.StoreUint32(&b.sets[s].Until[last], 0)
	return nil
}

// guestOf returns the way of a full set's source that is in the set beside it, or -1.
func (b *blocklist) guestOf(s uint32) int {
	if !b.isFull(s) {
		return -1
	}
	for w := range listedWays {
		if b.sets[s^1].Until[w] != 0 && b.setOf(b.sets[s^1].Address[w]) == s {
			return w
		}
	}
	return -1
}

func (b *blocklist) setWaiting(s uint32, leases []uint32) {
	if len(leases) == 0 {
		delete(b.overflow, s)
		return
	}
	b.overflow[s] = leases
}

// adopt goes on with as many sets as an earlier process used, or with the fewest.
func (b *blocklist) adopt(c *weirControl) {
	b.size = c.Listed
	if b.size < listedSetsMin || b.size > b.maxSets() || b.size&(b.size-1) != 0 {
		b.size = listedSetsMin
		atomic.StoreUint32(&c.Listed, b.size)
	}
	b.largest = b.maxSets() // who knows what that process used
}

// repair makes the sets that an earlier process used whole: keep says, once for each,
// which entries are as they should be, and what the program should read of them.
func (b *blocklist) repair(leases []weirLease, keep func(word, lease uint32) (until uint32, ok bool)) {
	b.n = 0
	for s := b.size; s < 2*b.size; s++ {
		set, n := &b.sets[s], 0
		for w := range listedWays {
			if set.Until[w] == 0 {
				continue
			}
			lease, word := b.leaseAt(s, w), set.Address[w]
			if home := b.setOf(word); home != s && home != s^1 {
				continue
			}
			until, ok := keep(word, lease)
			if !ok {
				continue
			}
			b.write(s, n, word, lease, until)
			n++
		}
		b.n += n
		for w := n; w < listedWays; w++ {
			atomic.StoreUint32(&set.Until[w], 0)
		}
	}
	for s := b.size; s < 2*b.size; s++ {
		b.callBack(s, leases)
	}
}

// callBack fetches the sources whose set it is from the one beside it, as far as there
// is room.
func (b *blocklist) callBack(s uint32, leases []weirLease) {
	for v := 0; v < listedWays && !b.isFull(s); v++ {
		guest := &b.sets[s^1]
		if guest.Until[v] == 0 || b.setOf(guest.Address[v]) != s {
			continue
		}
		b.fill(s, b.freeWay(s), guest.Address[v], b.leaseAt(s^1, v), guest.Until[v])
		b.release(s^1, v, leases)
		v-- // another may have taken its way
	}
}
