package xdp

import (
	"math/bits"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Of maps.h and types.h.
const (
	listedWays     = 8
	prefilterWords = 1 << 18 // per family and generation
	targetedWords  = 64
	// rebuildAfter is how many bits of the prefilter may be stale before it is
	// made anew: a stale bit costs its packets some time and nothing else.
	rebuildAfter = 1024
)

// blocklist is what the program asks first: sets of single IPv4 sources, and a
// bit per network that has any lease. The program reads both while they change.
type blocklist struct {
	sets      []weirListed4
	prefilter []uint64
	targeted  []uint64
	overflow  map[uint32][]uint32 // by set: leases whose set is full, which are in the map exact
	stale     int
	seed      uint64
}

// listedSets returns how many sets n leases need to be half full.
func listedSets(n int) int { return 1 << bits.Len(uint(max(1, n/(listedWays/2))-1)) }

func (b *blocklist) setOf(word uint32) uint32 {
	return uint32(mix(uint64(word)+b.seed)>>16) & uint32(len(b.sets)-1)
}

// add lists a source and reports whether its set had room.
func (b *blocklist) add(word, lease uint32) bool {
	s := b.setOf(word)
	for w := range listedWays {
		if b.sets[s].Lease[w] == 0 {
			b.write(s, w, word, lease)
			return true
		}
	}
	b.overflow[s] = append(b.overflow[s], lease)
	return false
}

// write fills a way. The program takes all leases of a set whose address fits
// together: at no time may an address stand beside another's lease.
func (b *blocklist) write(s uint32, w int, word, lease uint32) {
	atomic.StoreUint32(&b.sets[s].Lease[w], 0)
	atomic.StoreUint32(&b.sets[s].Address[w], word)
	atomic.StoreUint32(&b.sets[s].Lease[w], lease+1)
}

// remove takes a source off the list. An overflowing lease of the set that takes
// its place is returned: it must leave the map exact.
func (b *blocklist) remove(word, lease uint32, wordOf func(lease uint32) uint32) (moved uint32, isMoved, wasListed bool) {
	s := b.setOf(word)
	waiting := b.overflow[s]
	if i := slices.Index(waiting, lease); i >= 0 {
		b.setWaiting(s, slices.Delete(waiting, i, i+1))
		return 0, false, false
	}
	last := listedWays - 1
	for last > 0 && b.sets[s].Lease[last] == 0 {
		last--
	}
	w := slices.Index(b.sets[s].Lease[:], lease+1)
	if w < 0 {
		return 0, false, true
	}
	if n := len(waiting); n > 0 {
		moved = waiting[n-1]
		b.setWaiting(s, waiting[:n-1])
		b.write(s, w, wordOf(moved), moved)
		return moved, true, true
	}
	if w != last { // ways are taken in order
		b.write(s, w, b.sets[s].Address[last], b.sets[s].Lease[last]-1)
	}
	atomic.StoreUint32(&b.sets[s].Lease[last], 0)
	return 0, false, true
}

func (b *blocklist) setWaiting(s uint32, leases []uint32) {
	if len(leases) == 0 {
		delete(b.overflow, s)
		return
	}
	b.overflow[s] = leases
}

// repair makes the sets of an earlier process whole: keep says which entries are
// as they should be.
func (b *blocklist) repair(keep func(word, lease uint32) bool) {
	for s := range b.sets {
		n := 0
		for w := range listedWays {
			lease := b.sets[s].Lease[w]
			word := b.sets[s].Address[w]
			if lease == 0 || !keep(word, lease-1) || slices.Contains(b.sets[s].Lease[:n], lease) {
				continue
			}
			if n != w {
				b.write(uint32(s), n, word, lease-1)
			}
			n++
		}
		for w := n; w < listedWays; w++ {
			atomic.StoreUint32(&b.sets[s].Lease[w], 0)
		}
	}
}

// mark sets the bits of a source prefix in a generation of the prefilter.
func (b *blocklist) mark(generation uint32, p netip.Prefix) {
	base := int(generation&1) * 2 * prefilterWords
	set := func(i uint32) { atomicOr(&b.prefilter[base+int(i>>6)], 1<<(i&63)) }
	w := words(p.Addr())
	if p.Addr().Is4() {
		first := uint64(b4(p.Addr()) >> 8)
		n := uint64(1) << max(0, 24-p.Bits())
		for i := first; i < first+n; {
			if i%64 == 0 && first+n-i >= 64 {
				atomic.StoreUint64(&b.prefilter[base+int(i>>6)], ^uint64(0))
				i += 64
				continue
			}
			set(uint32(i))
			i++
		}
		return
	}
	base += prefilterWords
	upper := uint64(w[1])<<32 | uint64(w[0])
	switch {
	case p.Bits() >= 64:
		set(uint32(mix(upper+b.seed) >> 40))
	case p.Bits() >= 48:
		set(uint32(mix(upper&(1<<48-1)+b.seed+1) >> 40))
	}
}

// isWide reports whether a prefix is too short for the prefilter.
func isWide(p netip.Prefix) bool { return p.Addr().Is6() && p.Bits() < 48 }

func b4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func atomicOr(word *uint64, bit uint64) {
	if atomic.LoadUint64(word)&bit == 0 {
		atomic.OrUint64(word, bit)
	}
}

// filtered reports whether leases of a stage are behind the prefilter.
func (s stage) filtered() bool { return s == stageListed || s == stageExact || s == stagePrefix }

// unmark notes that a bit may have become stale, and makes the prefilter anew
// once many have.
func (d *Datapath) unmark() {
	b := &d.blocklist
	if b.stale++; b.stale < max(rebuildAfter, d.table.index.n) {
		return
	}
	d.rebuildPrefilter()
}

func (d *Datapath) rebuildPrefilter() {
	b := &d.blocklist
	next := (d.control.Generation ^ 1) & 1
	clear(b.prefilter[int(next)*2*prefilterWords : int(next+1)*2*prefilterWords])
	for i, m := range d.live() {
		if d.table.stages[i].filtered() {
			b.mark(next, m.Source)
		}
	}
	atomic.StoreUint32(&d.control.Generation, next)
	b.stale = 0
}

// writeTargeted tells the program which destinations have signatures.
func (d *Datapath) writeTargeted() {
	var fresh [targetedWords]uint64
	wide := uint32(0)
	for _, m := range d.table.signatures {
		if !m.Destination.IsValid() || !m.Destination.IsSingleIP() {
			wide++
			continue
		}
		w := words(m.Destination.Addr())
		h := uint32(mix((uint64(w[1])<<32 | uint64(w[0]) ^ (uint64(w[3])<<32 | uint64(w[2]))) + d.seed))
		fresh[h>>6&(targetedWords-1)] |= 1 << (h & 63)
	}
	for i := range fresh { // first what is new, so that no signature is out of sight
		atomicOr(&d.blocklist.targeted[i], fresh[i])
	}
	atomic.StoreUint32(&d.control.WideSignatures, wide)
	for i := range fresh {
		atomic.StoreUint64(&d.blocklist.targeted[i], fresh[i])
	}
}
