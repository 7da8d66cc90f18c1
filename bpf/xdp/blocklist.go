package xdp

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// Of maps.h and types.h.
const (
	listedWays = 8
	untilShift = 27
	untilAsk   = 1
	untilNever = 1<<32 - 1
	nobody     = 1<<32 - 1 // in place of a lease
	// A set holds half of its ways on average: one in a hundred leases finds it full.
	listedPerSet  = listedWays / 2
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
	overflow map[uint32][]uint32 // by set: leases whose set is full, which are in the map exact
	targeted []uint64
	seed     uint64
	prefilter
}

// listedSets returns how many sets are used for n leases.
func listedSets(n int) uint32 {
	return max(listedSetsMin, uint32(1)<<bits.Len(uint((n-1)/listedPerSet)))
}

func (b *blocklist) setOf(word uint32) uint32 {
	return b.size | uint32(mix(uint64(word)+b.seed)>>16)&(b.size-1)
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

// add lists a source and reports whether its set had room.
func (b *blocklist) add(word, lease, until uint32) bool {
	s := b.setOf(word)
	b.n++
	for w := range listedWays {
		if b.sets[s].Until[w] == 0 {
			b.fill(s, w, word, lease, until)
			return true
		}
	}
	b.overflow[s] = append(b.overflow[s], lease)
	return false
}

// find returns the set and the way of a listed source, or -1.
func (b *blocklist) find(word, lease uint32) (set uint32, way int) {
	s := b.setOf(word)
	for w := range listedWays {
		if b.sets[s].Until[w] != 0 && b.leaseAt(s, w) == lease {
			return s, w
		}
	}
	return s, -1
}

// renew changes what the program reads of a lease.
func (b *blocklist) renew(word, lease, until uint32) {
	if s, w := b.find(word, lease); w >= 0 {
		atomic.StoreUint32(&b.sets[s].Until[w], until)
	}
}

// leaseOf returns the lease of a way, counted from the first set, plus one.
func (b *blocklist) leaseOf(listed uint32) uint32 {
	return b.leaseAt((listed-1)/listedWays, int((listed-1)%listedWays))
}

func (b *blocklist) leaseAt(s uint32, w int) uint32 { return b.leases[s].Of[w] }

// write fills a way. The program takes what stands beside an address for its own:
// at no time may an address stand beside another's.
func (b *blocklist) write(s uint32, w int, word, lease, until uint32) {
	atomic.StoreUint32(&b.sets[s].Until[w], 0)
	b.fill(s, w, word, lease, until)
}

// fill fills a free way: nobody reads the rest of it before it says until when.
func (b *blocklist) fill(s uint32, w int, word, lease, until uint32) {
	set := &b.sets[s]
	set.Address[w] = word
	b.leases[s].Of[w] = lease
	atomic.StoreUint32(&set.Until[w], until)
}

// remove takes a source off the list. An overflowing lease of the set that takes
// its place is returned: it must leave the map exact.
func (b *blocklist) remove(word, lease uint32, leases []weirLease) (moved uint32, isMoved, wasListed bool) {
	s, w := b.find(word, lease)
	waiting := b.overflow[s]
	if i := slices.Index(waiting, lease); i >= 0 {
		b.n--
		b.setWaiting(s, slices.Delete(waiting, i, i+1))
		return 0, false, false
	}
	if w < 0 {
		return 0, false, true
	}
	b.n--
	last := listedWays - 1
	for b.sets[s].Until[last] == 0 {
		last--
	}
	b.settle(leases, s, w, BootTime())
	if n := len(waiting); n > 0 {
		moved = waiting[n-1]
		b.setWaiting(s, waiting[:n-1])
		l := &leases[moved]
		b.write(s, w, l.Source.W[0], moved, untilOf(l))
		return moved, true, true
	}
	if w != last { // ways are taken in order
		b.settle(leases, s, last, BootTime())
		b.write(s, w, b.sets[s].Address[last], b.leaseAt(s, last), b.sets[s].Until[last])
		atomic.StoreUint32(&b.sets[s].Until[last], 0)
		return 0, false, true
	}
	atomic.StoreUint32(&b.sets[s].Until[w], 0)
	atomic.StoreUint32(&b.leases[s].Of[w], nobody)
	return 0, false, true
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

// repair makes the sets that an earlier process used whole: keep says which entries are
// as they should be, and what the program should read of them.
func (b *blocklist) repair(keep func(word, lease uint32) (until uint32, ok bool)) {
	b.n = 0
	for s := b.size; s < 2*b.size; s++ {
		set, n := &b.sets[s], 0
		for w := range listedWays {
			if set.Until[w] == 0 {
				continue
			}
			lease, word := b.leaseAt(s, w), set.Address[w]
			until, ok := keep(word, lease)
			if !ok || b.isAmong(s, n, lease) {
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
}

// isAmong reports whether one of the first n ways of a set is the lease's.
func (b *blocklist) isAmong(s uint32, n int, lease uint32) bool {
	return slices.Contains(b.leases[s].Of[:n], lease)
}
