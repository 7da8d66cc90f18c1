package xdp

import (
	"math/bits"
	"net/netip"
	"sync/atomic"
)

// Of maps.h.
const (
	prefilterBits  = 24
	prefilterWords = 1 << (prefilterBits - 6) // per half
	prefilterHalf  = 8 * prefilterWords       // in the control page: the second half is in use
	prefilterNet   = 1 << 32
	wideWords      = 1 << 10
	wideBelow      = 20 // IPv4 prefixes shorter than this are found by their /16
	// So many bits of the prefilter per key, of which four are set. A packet that
	// meets four by chance costs a lookup: one in thirty, or fewer. But more bits
	// would not fit a core's cache, and cost every packet more than that.
	prefilterSpare   = 8
	prefilterBitsMin = 13
	// rebuildAfter is how many keys of the prefilter may be stale before it is
	// made anew: a stale one costs its packets some time and nothing else.
	rebuildAfter = 1024
)

// prefilter says of nearly every source that it has no lease: a Bloom filter with
// all bits of a key in one word.
type prefilter struct {
	words  []uint64 // two halves, one in use
	wide4  []uint64 // likewise
	bits   int      // of the half in use: 2^bits
	marked int      // keys, some maybe twice
	stale  int
}

func (f *prefilter) word(half uint32, hash uint64) *uint64 {
	return &f.words[uint64(half)*prefilterWords+hash>>f.shift()]
}

// shift makes the number of a hash's word of its upper bits.
func (f *prefilter) shift() int { return 64 + 6 - f.bits }

// set marks a key.
func (f *prefilter) set(half uint32, hash uint64) {
	atomicOr(f.word(half, hash), 1<<(hash&63)|1<<(hash>>6&63)|1<<(hash>>12&63)|1<<(hash>>18&63))
	f.marked++
}

// mark lets packets of a source or a source prefix past a half of the prefilter.
func (b *blocklist) mark(half uint32, p netip.Prefix) {
	switch {
	case isWide(p):
	case p.Addr().Is4():
		b.mark4(half, b4(p.Addr()), p.Bits())
	default:
		w := words(p.Addr())
		upper := uint64(w[1])<<32 | uint64(w[0])
		if p.Bits() >= 64 {
			b.set(half, mix(upper+b.seed))
		} else {
			b.set(half, mix(upper&(1<<48-1)+b.seed+1))
		}
	}
}

func (b *blocklist) mark4(half, address uint32, length int) {
	switch {
	case length == 32:
		b.set(half, hash4(uint64(bits.ReverseBytes32(address)), b.seed))
	case length >= wideBelow:
		for i := range uint64(1) << max(0, 24-length) {
			b.set(half, mix((uint64(address>>8)+i|prefilterNet)+b.seed))
		}
	default:
		for i := range uint32(1) << max(0, 16-length) {
			at := address>>16 + i
			atomicOr(&b.wide4[half*wideWords+at>>6], 1<<(at&63))
		}
	}
}

// isWide reports whether a prefix is too short for any bit.
func isWide(p netip.Prefix) bool { return p.Addr().Is6() && p.Bits() < 48 }

func b4(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func atomicOr(word *uint64, bits uint64) {
	if atomic.LoadUint64(word)&bits != bits {
		atomic.OrUint64(word, bits)
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
		b.mark(d.half(), p) // it may not be among the listed yet
	}
}

// markSource4 is markSource of an IPv4 address as packets have it.
func (d *Datapath) markSource4(word uint32) {
	b, address := &d.blocklist, bits.ReverseBytes32(word)
	b.mark4(d.half(), address, 32)
	if b.isCrowded() {
		d.rebuildPrefilter()
		b.mark4(d.half(), address, 32)
	}
}

// half is the half of the prefilter that is in use.
func (d *Datapath) half() uint32 { return d.control.Prefilter / prefilterHalf }

// unmark notes that a key may have become stale, and makes the prefilter anew
// once many have.
func (d *Datapath) unmark() {
	b := &d.blocklist
	if b.stale++; b.stale < max(rebuildAfter, d.table.n) {
		return
	}
	d.rebuildPrefilter()
}

// rebuildPrefilter makes the other half the one in use, as large as the leases
// need.
func (d *Datapath) rebuildPrefilter() {
	b := &d.blocklist
	next := d.half() ^ 1
	b.bits = min(max(bits.Len(uint(prefilterSpare*d.table.n)), prefilterBitsMin), prefilterBits)
	d.markAll(next)
	for b.isCrowded() { // by prefixes that have many keys
		b.bits++
		d.markAll(next)
	}
	b.stale = 0
	atomic.StoreUint32(&d.control.Prefilter, next*prefilterHalf|uint32(b.shift()-3))
}

func (f *prefilter) isCrowded() bool {
	return f.bits < prefilterBits && f.marked*prefilterSpare > 1<<f.bits
}

// markAll fills a half of the prefilter that is not in use.
func (d *Datapath) markAll(half uint32) {
	b := &d.blocklist
	clear(b.words[half*prefilterWords : (half+1)*prefilterWords])
	clear(b.wide4[half*wideWords : (half+1)*wideWords])
	b.marked = 0
	// Of a million leases most are listed, and those lie close together.
	b.each(d.leases, func(word, _, _ uint32) { b.mark4(half, bits.ReverseBytes32(word), 32) })
	for i, s := range d.table.stages {
		if s == stageExact || s == stagePrefix {
			b.mark(half, d.entry(&d.leases[i]).Match.Source)
		}
	}
}
