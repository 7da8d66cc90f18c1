package xdp

import (
	"sync/atomic"
	"time"
)

// Of listed.h: where in the count of a way its packets are.
const listedPacketsShift = 40

// settle moves the count of a way to its lease. When the drops were is not known:
// at or before now, in boot time.
func (b *blocklist) settle(leases []weirLease, s uint32, w int, now time.Duration) {
	count := &b.counts[s].Of[w]
	if atomic.LoadUint64(count) == 0 {
		return
	}
	sum := atomic.SwapUint64(count, 0)
	lease := b.leaseAt(s, w)
	if int(lease) >= len(leases) {
		return
	}
	l := &leases[lease]
	atomic.AddUint64(&l.Packets, sum>>listedPacketsShift)
	atomic.AddUint64(&l.Bytes, sum&(1<<listedPacketsShift-1))
	atomic.StoreUint64(&l.Last, uint64(now))
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

// drops returns the counters of a lease, with what is still in the buffers. These
// are read last: a packet that is counted meanwhile is missed, not seen twice.
func (d *Datapath) drops(lease uint32) Drops {
	drops := dropsOf(&d.leases[lease])
	for i := range d.batches {
		d.batches[i].eachListed(func(e *weirNoted) {
			if d.blocklist.leaseOf(e.Listed) == lease {
				v := volumeOf(e.Packet.Volume)
				drops.Packets += v.packets
				drops.Bytes += v.bytes
				drops.Last = max(drops.Last, time.Duration(d.batches[i].Now))
			}
		})
	}
	return drops
}

// eachListed calls f with the packets in a buffer that listed sources sent: they
// are not yet counted for their leases.
func (b *weirBatch) eachListed(f func(*weirNoted)) {
	noted := b.noted()
	for i := range noted {
		if e := &noted[i]; e.Listed != 0 {
			f(e)
		}
	}
}

// disown ends what is counted for the lease of a listed source, which is to go or to
// begin anew: what was dropped is counted for it or, if it is in a buffer, for none.
// Packets that come meanwhile may count for the next.
func (d *Datapath) disown(word uint32) {
	s, w := d.blocklist.find(word)
	if w < 0 {
		return
	}
	d.blocklist.settle(d.leases, s, w, BootTime())
	listed := s*listedWays + uint32(w) + 1
	for i := range d.batches {
		b := &d.batches[i]
		if atomic.LoadUint32(&b.Listed) == 0 {
			continue
		}
		b.eachListed(func(e *weirNoted) {
			atomic.CompareAndSwapUint32(&e.Listed, listed, 0) // it may be another packet by now
		})
	}
}

// countListed counts for their leases what the ways counted, and what the drained
// buffers still held.
func (d *Datapath) countListed(half int) {
	d.settlePortions()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settleDirect()
	d.clearDirect(half)
	for i := half * d.cpus; i < (half+1)*d.cpus; i++ {
		b := &d.batches[i]
		b.eachListed(func(e *weirNoted) {
			if lease := d.blocklist.leaseOf(e.Listed); lease != nobody {
				l, v := &d.leases[lease], volumeOf(e.Packet.Volume)
				atomic.AddUint64(&l.Packets, v.packets)
				atomic.AddUint64(&l.Bytes, v.bytes)
				atomic.StoreUint64(&l.Last, max(l.Last, b.Now))
			}
		})
	}
}
