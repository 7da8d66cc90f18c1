package xdp

import (
	"sync/atomic"
	"time"
)

// settle moves the count of a way to its lease.
func (b *blocklist) settle(leases []weirLease, s uint32, w int, now time.Duration) {
	count := &b.counts[s].Of[w]
	if atomic.LoadUint64(count) == 0 {
		return
	}
	sum := atomic.SwapUint64(count, 0)
	if lease := b.leaseAt(s, w); int(lease) < len(leases) {
		leases[lease].lose(volumeOf(sum), uint64(now))
	}
}

// lose adds to a lease what its source lost. When the last of it was is not known: at or
// before a time.
func (l *weirLease) lose(lost volume, last uint64) {
	atomic.AddUint64(&l.Packets, lost.packets)
	atomic.AddUint64(&l.Bytes, lost.bytes)
	atomic.StoreUint64(&l.Last, max(l.Last, last))
}

// settleAll moves the counts of all ways that have been in use to their leases:
// those that were counted late for sets of a former number too.
func (b *blocklist) settleAll(leases []weirLease) {
	b.settleSets(leases, listedSetsMin, 2*b.largest)
}

// settleSets does so from one set to another.
func (b *blocklist) settleSets(leases []weirLease, from, to uint32) {
	now := BootTime()
	for s := from; s < to; s++ {
		if b.counts[s].isEmpty() { // as nearly all are
			continue
		}
		for w := range listedWays {
			b.settle(leases, s, w, now)
		}
	}
}

// settlePortions is settleAll for who does not hold d.mu: of a million leases that all
// lose packets it would be held for long, and who wants to put one would wait.
func (d *Datapath) settlePortions() {
	for from, more := uint32(listedSetsMin), true; more; from += portionSize {
		d.mu.Lock()
		to := 2 * d.blocklist.largest
		d.blocklist.settleSets(d.leases, from, min(from+portionSize, to))
		d.mu.Unlock()
		more = from+portionSize < to
	}
}

// isEmpty reports whether no way of a set lost anything.
func (c *weirListedCount) isEmpty() bool {
	of := &c.Of
	return of[0]|of[1]|of[2]|of[3]|of[4]|of[5]|of[6]|of[7] == 0
}

// drops returns the counters of a lease, with what is still to be added to them.
func (d *Datapath) drops(lease uint32) Drops {
	l := &d.leases[lease]
	if d.table.stages[lease] != stageListed {
		return dropsOf(l)
	}
	word := l.Source.W[0]
	if s, w := d.blocklist.find(word); w >= 0 {
		d.blocklist.settle(d.leases, s, w, BootTime())
	}
	drops := dropsOf(l)
	for _, lost := range d.lostBy(word) {
		sum, last := lost.sum()
		drops.Packets += sum.packets
		drops.Bytes += sum.bytes
		drops.Last = max(drops.Last, last)
	}
	return drops
}

// disown ends what is counted for the lease of a listed source, which is to go or to
// begin anew: it is nobody's. Packets that come meanwhile may count for the next.
func (d *Datapath) disown(word uint32) {
	if s, w := d.blocklist.find(word); w >= 0 {
		d.blocklist.settle(d.leases, s, w, BootTime())
	}
	for _, lost := range d.lostBy(word) {
		for _, r := range lost.records {
			r.disown()
		}
		for _, e := range lost.noted {
			e.disown()
		}
	}
}
