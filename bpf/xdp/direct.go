package xdp

import (
	"math/bits"
	"slices"
	"sync/atomic"
	"time"
)

// Of sources.h: what a source lost because it is listed, as direct.h has it. Whoever
// counts packets takes it for any other that was dropped.
const (
	kindListed = kindDropped | kindPairs
	listedKey  = kindListed << kindShift
	listed4    = listedKey << keyShift
)

// plainKey is a key with the kind that whoever counts packets takes it for.
func plainKey(key uint32) uint32 { return key &^ (key << 1 & (kindPairs << kindShift)) }

// plain4 is the word of a record4 with that key, and nothing above it.
func plain4(word uint64) uint64 { return word & recordMask &^ (word << 1 & pairs4) }

// isListed reports whether a noted packet was dropped because its source is listed.
func (e *weirPacket) isListed() bool { return e.What&listedKey == listedKey }

// settleListed adds to the leases what their sources lost in the half that has ended. What
// is added is from then on as any other that was dropped: who does it again, in a later
// process, finds the rest.
func (d *Datapath) settleListed(half int) {
	batches := d.batches[half*d.cpus : (half+1)*d.cpus]
	listed := uint32(0)
	for cpu := range batches {
		listed |= batches[cpu].Listed
	}
	if listed == 0 {
		return
	}
	d.settlePortions()
	for cpu := range batches {
		region := half*d.cpus + cpu
		for word := range d.tables[0].dirtyWords() {
			d.settleWord(region, word)
		}
		d.settleBuffer(&batches[cpu])
	}
}

// settleWord does so for the sets that one word of the dirty map stands for.
func (d *Datapath) settleWord(region, word int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t, s := &d.tables[0], &d.settling
	for dirty := t.dirty[region*t.dirtyWords()+word]; dirty != 0; dirty &= dirty - 1 {
		sets := t.sets4(region, word*wordSets+bits.TrailingZeros64(dirty)*dirtySets, dirtySets)
		for i := range sets {
			for way := range sets[i] {
				if r := &sets[i][way]; r.isListed() {
					s.records[s.n] = r
					s.n++
				}
			}
		}
		if s.n > len(s.records)-dirtySets*setWays {
			d.settleRecords(d.batches[region].Now)
		}
	}
	d.settleRecords(d.batches[region].Now)
}

// settling is a portion of records that are being added to their leases.
type settling struct {
	n       int
	records [256]*record4
	leases  [256]uint32
	touched uint64
}

// settleRecords adds a portion. Its leases are anywhere in memory: the processor waits for
// all of them together.
func (d *Datapath) settleRecords(last uint64) {
	s := &d.settling
	records, leases := s.records[:s.n], s.leases[:s.n]
	s.n = 0
	for i, r := range records {
		leases[i] = d.leaseOf(uint32(r.word))
	}
	for _, lease := range leases {
		if lease != nobody {
			s.touched += d.leases[lease].Packets
		}
	}
	for i, r := range records {
		if leases[i] != nobody {
			d.leases[leases[i]].lose(volumeOf(r.counts), last)
		}
		r.disown()
	}
}

// settleBuffer does so for a buffer, the last of its region.
func (d *Datapath) settleBuffer(b *weirBatch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	noted := b.noted()
	for i := range noted {
		if e := &noted[i]; e.isListed() {
			if lease := d.leaseOf(e.Src.W[0]); lease != nobody {
				d.leases[lease].lose(volumeOf(e.Volume), b.Now)
			}
			e.disown()
		}
	}
	b.Listed = 0
}

// leaseOf returns the lease of a source, or nobody.
func (d *Datapath) leaseOf(word uint32) uint32 {
	if lease, ok := d.blocklist.lease(word, d.leases); ok && int(lease) < len(d.leases) {
		return lease
	}
	return nobody
}

// isListed reports whether a record is of what a source lost because it is listed.
func (r *record4) isListed() bool { return atomic.LoadUint64(&r.word)&listed4 == listed4 }

// disown makes the record one of any packets that were dropped. The program may be
// counting in it, and changes its word next to never: then this may be in vain.
func (r *record4) disown() {
	word := atomic.LoadUint64(&r.word)
	for word&listed4 == listed4 && !atomic.CompareAndSwapUint64(&r.word, word, word&^pairs4) {
		word = atomic.LoadUint64(&r.word)
	}
}

// disown is the same of a packet that waits in a buffer: it may be another by now.
func (e *weirPacket) disown() {
	what := atomic.LoadUint32(&e.What)
	atomic.CompareAndSwapUint32(&e.What, what, plainKey(what&keyMask)|what&^keyMask)
	atomic.StoreUint32(&e.Listed, 0)
}

// lost is what a source lost in a region and is still to be added to its lease.
type lost struct {
	batch   *weirBatch
	records []*record4
	noted   []*weirPacket
}

// lostBy returns what a source lost, by region. What is in the buffers is looked at last:
// a packet that is counted meanwhile is missed, not seen twice.
func (d *Datapath) lostBy(word uint32) (all []lost) {
	for region := range d.batches {
		b := &d.batches[region]
		if atomic.LoadUint32(&b.Listed) == 0 {
			continue
		}
		l := lost{batch: b}
		for slot := range d.slots {
			if d.isKnown(Slot(slot)) {
				l.records = d.lostOn(l.records, region, uint64(slot)<<keyShift|uint64(word))
			}
		}
		noted := b.noted()
		for i := range noted {
			if e := &noted[i]; e.isListed() && e.Src.W[0] == word {
				l.noted = append(l.noted, e)
			}
		}
		all = append(all, l)
	}
	return all
}

// lostOn appends the records in a region of what a source of an interface lost.
func (d *Datapath) lostOn(all []*record4, region int, source uint64) []*record4 {
	t := &d.tables[0]
	hash, hot := hash4(source, d.seed), d.hot(t, region/d.cpus)
	first := t.first(hash, hot)
	all = t.sets4(region, first, 1)[0].listed(all, source)
	r := record4{word: source}.record()
	if word, bit := t.goneBit(region, first, hash, &r, d.seed); *word&bit == 0 {
		return all
	}
	seen := [NumClasses]int{}
	for class := range NumClasses {
		second := t.second(hash, kindListed|class, hot)
		if !slices.Contains(seen[:class], second) && second != first {
			all = t.sets4(region, second, 1)[0].listed(all, source)
		}
		seen[class] = second
	}
	return all
}

// listed appends the records of a set of what a source lost.
func (s *set4) listed(all []*record4, source uint64) []*record4 {
	for way := range s {
		if r := &s[way]; r.isListed() && (r.word^source)&source4Mask == 0 {
			all = append(all, r)
		}
	}
	return all
}

// sum returns how much it is, and when the last of it was, or some time after.
func (l *lost) sum() (sum volume, last time.Duration) {
	for _, r := range l.records {
		sum.add(volumeOf(atomic.LoadUint64(&r.counts)))
	}
	for _, e := range l.noted {
		sum.add(volumeOf(atomic.LoadUint64(&e.Volume)))
	}
	if sum.packets > 0 {
		last = time.Duration(atomic.LoadUint64(&l.batch.Now))
	}
	return sum, last
}

// takeBack makes packets ask the list again, of which a source is to be gone or to be
// dropped less long.
func (d *Datapath) takeBack() { atomic.AddUint32(&d.control.Generation, 1) }

// beginKnown begins a window's knowledge of who is listed, which has none yet.
func (d *Datapath) beginKnown(half int) {
	for region := half * d.cpus; region < (half+1)*d.cpus; region++ {
		b := &d.batches[region]
		b.KnownUntil, b.Generation = untilNever, atomic.LoadUint32(&d.control.Generation)
	}
}
