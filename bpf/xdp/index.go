package xdp

import "math/bits"

// matchKey is a Match as a lease's record holds it: comparable, and without the
// pointers that make a Match slow to hash and to collect.
type matchKey struct {
	source, destination                                          [4]uint32
	sourceFamily, sourceBits, destinationFamily, destinationBits uint8
	sourcePort, destinationPort                                  uint16
	protocol, flagMask, flagValue, variant, fragments            uint8
}

func keyOf(m *Match) (k matchKey) {
	if m.Source.IsValid() {
		k.source = words(m.Source.Addr())
		k.sourceFamily, k.sourceBits = family(m.Source), uint8(m.Source.Bits())
	}
	if m.Destination.IsValid() {
		k.destination = words(m.Destination.Addr())
		k.destinationFamily, k.destinationBits = family(m.Destination), uint8(m.Destination.Bits())
	}
	k.sourcePort, k.destinationPort = m.SourcePort, m.DestinationPort
	k.protocol, k.flagMask, k.flagValue, k.variant = m.Protocol, m.FlagMask, m.FlagValue, m.Variant
	if m.Fragments {
		k.fragments = 1
	}
	return k
}

// key returns the key of the Match that the record holds.
func (l *weirLease) key() matchKey {
	return matchKey{
		source: l.Source.W, destination: l.Destination.W,
		sourceFamily: l.SourceFamily, sourceBits: l.SourceBits,
		destinationFamily: l.DestinationFamily, destinationBits: l.DestinationBits,
		sourcePort: l.SourcePort, destinationPort: l.DestinationPort,
		protocol: l.Protocol, flagMask: l.FlagMask, flagValue: l.FlagValue, variant: l.Variant, fragments: l.Fragments,
	}
}

// isSource4 reports whether the key says no more than one IPv4 source.
func (k *matchKey) isSource4() bool {
	return k.sourceFamily == 4 && k.sourceBits == 32 && k.destinationFamily == 0 && k.sourcePort|k.destinationPort == 0 &&
		k.protocol|k.flagMask|k.flagValue|k.variant|k.fragments == 0
}

func (l *weirLease) setKey(k *matchKey) {
	l.Source.W, l.Destination.W = k.source, k.destination
	l.SourceFamily, l.SourceBits = k.sourceFamily, k.sourceBits
	l.DestinationFamily, l.DestinationBits = k.destinationFamily, k.destinationBits
	l.SourcePort, l.DestinationPort = k.sourcePort, k.destinationPort
	l.Protocol, l.FlagMask, l.FlagValue, l.Variant, l.Fragments = k.protocol, k.flagMask, k.flagValue, k.variant, k.fragments
}

// hash is keyed, as attackers choose what gets a lease.
func (k *matchKey) hash(seed uint64) uint32 {
	pair := func(w *[4]uint32, i int) uint64 { return uint64(w[i+1])<<32 | uint64(w[i]) }
	h := mix(pair(&k.source, 0) + seed)
	if k.sourceFamily == 6 {
		h = mix(h ^ pair(&k.source, 2))
	}
	if k.destinationFamily != 0 {
		h = mix(mix(h^pair(&k.destination, 0)) ^ pair(&k.destination, 2))
	}
	scope := uint64(k.sourceFamily) | uint64(k.sourceBits)<<8 | uint64(k.destinationFamily)<<16 | uint64(k.destinationBits)<<24 |
		uint64(k.protocol)<<32 | uint64(k.flagMask)<<40 | uint64(k.flagValue)<<48 | uint64(k.variant)<<56
	ports := uint64(k.sourcePort) | uint64(k.destinationPort)<<16 | uint64(k.fragments)<<32
	return uint32(mix(h^scope^mix(ports)) >> 32)
}

// leaseIndex finds leases by their Match. It holds no Match: those are in the
// leases' records. A hash table with linear search, made as large as it can ever
// have to be, so that it never stops to grow; a Go map of Match was most of the
// cost of loading a million leases.
type leaseIndex struct {
	slots []uint64 // hash << 32 | lease + 1; 0: free
	n     int
}

func newLeaseIndex(capacity int) leaseIndex {
	return leaseIndex{slots: make([]uint64, 1<<bits.Len(uint(capacity+capacity/2)))}
}

// find returns the lease with a key, whose hash is h.
func (x *leaseIndex) find(leases []weirLease, k *matchKey, h uint32) (lease uint32, ok bool) {
	mask := uint32(len(x.slots) - 1)
	for i := h & mask; x.slots[i] != 0; i = (i + 1) & mask {
		if uint32(x.slots[i]>>32) != h {
			continue
		}
		if lease = uint32(x.slots[i]) - 1; leases[lease].key() == *k {
			return lease, true
		}
	}
	return 0, false
}

// add enters a lease that is not in it.
func (x *leaseIndex) add(lease, h uint32) {
	mask := uint32(len(x.slots) - 1)
	i := h & mask
	for x.slots[i] != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = uint64(h)<<32 | uint64(lease+1)
	x.n++
}

// remove takes a lease out. What stands behind it moves up, so that no search
// meets a gap.
func (x *leaseIndex) remove(lease, h uint32) {
	mask := uint32(len(x.slots) - 1)
	i := h & mask
	for uint32(x.slots[i]) != lease+1 {
		if x.slots[i] == 0 {
			return
		}
		i = (i + 1) & mask
	}
	for j := i; ; {
		j = (j + 1) & mask
		if x.slots[j] == 0 {
			break
		}
		if home := uint32(x.slots[j] >> 32); (j-home)&mask >= (j-i)&mask { // its home is not behind the gap
			x.slots[i], i = x.slots[j], j
		}
	}
	x.slots[i] = 0
	x.n--
}

// aheadSize is how many entries of a Put are looked up at once.
const aheadSize = 32

// lookAhead makes the keys of entries, and reads what putting them will read. At a
// million leases each of those reads waits for memory: one after the other
// they cost most of the time, side by side the processor does them at once. So
// what is to be read is found out first, and the loop that reads does nothing else.
func (d *Datapath) lookAhead(entries []Entry, keys []matchKey) {
	b, x := &d.blocklist, &d.table.index
	marks := d.half()
	var set, lease [aheadSize]*uint32
	var word [aheadSize]*uint64
	n := 0
	for i := range entries {
		k := &keys[i]
		*k = keyOf(&entries[i].Match)
		if k.isSource4() {
			s := b.setOf(k.source[0])
			set[n], lease[n] = &b.sets[s].Until[0], &b.leases[s].Of[0]
			word[n] = b.word(marks, hash4(uint64(k.source[0]), b.seed))
			n++
		} else {
			d.table.read += x.slots[k.hash(d.seed)&uint32(len(x.slots)-1)]
		}
	}
	var read uint64
	for i := range n {
		read += uint64(*set[i]) + uint64(*lease[i]) + *word[i]
	}
	d.table.read += read // lest the compiler leave the reads out
}
