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
	untilShift     = 27
	untilAsk       = 1
	untilNever     = 1<<32 - 1
	nobody         = 1<<32 - 1 // in place of a lease
	prefilterBits  = 24
	prefilterWords = 1 << (prefilterBits - 6) // per half
	wideWords      = 1 << 10
	wideBelow      = 20 // IPv4 prefixes shorter than this are found by their /16
	targetedWords  = 1 << 10
	// One bit in so many of the prefilter may be set. One that is set by chance
	// costs its packets a lookup; but more bits would not fit a core's cache, and
	// cost every packet more than that.
	prefilterSpare   = 8
	prefilterBitsMin = 13
	// rebuildAfter is how many bits of the prefilter may be stale before it is
	// made anew: a stale bit costs its packets some time and nothing else.
	rebuildAfter = 1024
)

// blocklist is what the program asks first: sets of single IPv4 sources, and a
// bit per network that has any lease. The program reads both while they change.
type blocklist struct {
	sets      []weirListed4
	leases    []weirLeaseSet // of the sets
	prefilter []uint64       // two halves, one in use
	wide4     []uint64       // likewise
	targeted  []uint64
	overflow  map[uint32][]uint32 // by set: leases whose set is full, which are in the map exact
	bits      int                 // of the prefilter in use: 2^bits
	marked    int                 // bits that were set, some maybe twice
	stale     int
	seed      uint64
}

// listedSets returns how many sets n leases need to be half full.
func listedSets(n int) int { return 1 << bits.Len(uint(max(1, n/(listedWays/2))-1)) }

func (b *blocklist) setOf(word uint32) uint32 {
	return uint32(mix(uint64(word)+b.seed)>>16) & uint32(len(b.sets)-1)
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
	for w := range listedWays {
		if b.sets[s].Until[w] == 0 {
			b.write(s, w, word, lease, until)
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
	atomic.StoreUint32(&b.sets[s].Address[w], word)
	atomic.StoreUint32(&b.leases[s].Of[w], lease)
	atomic.StoreUint32(&b.sets[s].Until[w], until)
}

// remove takes a source off the list. An overflowing lease of the set that takes
// its place is returned: it must leave the map exact.
func (b *blocklist) remove(word, lease uint32, leaseOf func(lease uint32) *weirLease) (moved uint32, isMoved, wasListed bool) {
	s, w := b.find(word, lease)
	waiting := b.overflow[s]
	if i := slices.Index(waiting, lease); i >= 0 {
		b.setWaiting(s, slices.Delete(waiting, i, i+1))
		return 0, false, false
	}
	if w < 0 {
		return 0, false, true
	}
	last := listedWays - 1
	for b.sets[s].Until[last] == 0 {
		last--
	}
	if n := len(waiting); n > 0 {
		moved = waiting[n-1]
		b.setWaiting(s, waiting[:n-1])
		l := leaseOf(moved)
		b.write(s, w, l.Source.W[0], moved, untilOf(l))
		return moved, true, true
	}
	if w != last { // ways are taken in order
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

// repair makes the sets of an earlier process whole: keep says which entries are
// as they should be, and what the program should read of them.
func (b *blocklist) repair(keep func(word, lease uint32) (until uint32, ok bool)) {
	for s := range uint32(len(b.sets)) {
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
		for w := n; w < listedWays; w++ {
			atomic.StoreUint32(&set.Until[w], 0)
		}
	}
}

// isAmong reports whether one of the first n ways of a set is the lease's.
func (b *blocklist) isAmong(s uint32, n int, lease uint32) bool {
	return slices.Contains(b.leases[s].Of[:n], lease)
}

// word returns where in a half of the prefilter the bit of a hash is.
func (b *blocklist) word(half uint32, hash uint64) *uint64 {
	return &b.prefilter[uint64(half)*prefilterWords+hash>>(64-b.bits)>>6]
}

// hash4 is that of a /24 for the prefilter.
func (b *blocklist) hash4(network uint64) uint64 { return network * (b.seed | 1) }

// mark sets the bits of a source prefix in a half of the prefilter.
func (b *blocklist) mark(half uint32, p netip.Prefix) {
	if isWide(p) {
		return
	}
	set := func(hash uint64) {
		atomicOr(b.word(half, hash), 1<<(hash>>(64-b.bits)&63))
		b.marked++
	}
	if p.Addr().Is4() {
		net := uint64(b4(p.Addr()) >> 8)
		if p.Bits() < wideBelow {
			for i := range uint64(1) << max(0, 16-p.Bits()) {
				at := net>>8 + i
				atomicOr(&b.wide4[uint64(half)*wideWords+at>>6], 1<<(at&63))
			}
			return
		}
		for i := range uint64(1) << max(0, 24-p.Bits()) {
			set(b.hash4(net + i))
		}
		return
	}
	w := words(p.Addr())
	upper := uint64(w[1])<<32 | uint64(w[0])
	if p.Bits() >= 64 {
		set(mix(upper + b.seed))
	} else {
		set(mix(upper&(1<<48-1) + b.seed + 1))
	}
}

// isWide reports whether a prefix is too short even for wide4.
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

// markSource makes the prefilter let a lease's packets through to it, in a larger
// prefilter where the one in use is getting full.
func (d *Datapath) markSource(p netip.Prefix) {
	b := &d.blocklist
	b.mark(d.half(), p)
	if b.isCrowded() {
		d.rebuildPrefilter()
	}
}

// half is the half of the prefilter that is in use.
func (d *Datapath) half() uint32 { return d.control.Prefilter & 1 }

// unmark notes that a bit may have become stale, and makes the prefilter anew
// once many have.
func (d *Datapath) unmark() {
	b := &d.blocklist
	if b.stale++; b.stale < max(rebuildAfter, d.table.index.n) {
		return
	}
	d.rebuildPrefilter()
}

// rebuildPrefilter makes the other half the one in use, as large as the leases
// need.
func (d *Datapath) rebuildPrefilter() {
	b := &d.blocklist
	next := d.half() ^ 1
	b.bits = min(max(bits.Len(uint(prefilterSpare*d.table.index.n)), prefilterBitsMin), prefilterBits)
	d.markAll(next)
	for b.isCrowded() { // by prefixes that have many bits
		b.bits++
		d.markAll(next)
	}
	b.stale = 0
	atomic.StoreUint32(&d.control.Prefilter, next|uint32(64-b.bits)<<8)
}

func (b *blocklist) isCrowded() bool {
	return b.bits < prefilterBits && b.marked*prefilterSpare > 1<<b.bits
}

// markAll fills a half of the prefilter that is not in use.
func (d *Datapath) markAll(half uint32) {
	b := &d.blocklist
	clear(b.prefilter[half*prefilterWords : (half+1)*prefilterWords])
	clear(b.wide4[half*wideWords : (half+1)*wideWords])
	b.marked = 0
	for i, m := range d.live() {
		if d.table.stages[i].filtered() {
			b.mark(half, m.Source)
		}
	}
}

// Of types.h: by what a signature is looked for.
const (
	shapePlain = iota
	shapeProtocol
	shapeDestinationPort
	shapeSourcePort
	shapeAnywhere // added when it does not name one destination
)

// shapeOf returns the shape of a signature and the bit of targeted that stands
// for it.
func (d *Datapath) shapeOf(m Match) (shape, bit uint32) {
	var asked uint64
	transport := uint32(m.Protocol) << 16
	switch {
	case m.Protocol == 0: // ports and flags of any protocol, or none
		shape, transport = shapePlain, 0
	case m.DestinationPort != 0:
		shape, transport = shapeDestinationPort, transport|uint32(m.DestinationPort)
	case m.SourcePort != 0:
		shape, transport = shapeSourcePort, transport|uint32(m.SourcePort)
	default:
		shape = shapeProtocol
	}
	if m.Destination.IsValid() && m.Destination.IsSingleIP() {
		w := words(m.Destination.Addr())
		asked = uint64(w[1])<<32 | uint64(w[0]) ^ (uint64(w[3])<<32 | uint64(w[2]))
	} else {
		shape += shapeAnywhere
	}
	return shape, uint32(mix(mix(asked+d.seed) + uint64(transport) + uint64(shape)<<32))
}

// writeTargeted tells the program what signatures ask for.
func (d *Datapath) writeTargeted() {
	var fresh [targetedWords]uint64
	shapes := uint32(0)
	for _, m := range d.table.signatures {
		shape, bit := d.shapeOf(m)
		shapes |= 1 << shape
		fresh[bit>>6&(targetedWords-1)] |= 1 << (bit & 63)
	}
	for i := range fresh { // first what is new, so that no signature is out of sight
		atomicOr(&d.blocklist.targeted[i], fresh[i])
	}
	atomic.StoreUint32(&d.control.SignatureShapes, shapes)
	for i := range fresh {
		atomic.StoreUint64(&d.blocklist.targeted[i], fresh[i])
	}
}
