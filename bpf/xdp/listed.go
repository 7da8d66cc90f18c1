package xdp

import (
	"sync/atomic"
	"time"
)

// drops returns the counters of a lease, with what is still in the buffers. These
// are read last: a packet that is counted meanwhile is missed, not seen twice.
func (d *Datapath) drops(lease uint32) Drops {
	drops := dropsOf(&d.leases[lease])
	for i := range d.batches {
		d.batches[i].eachListed(func(e *weirNoted) {
			if d.blocklist.leaseOf(e.Listed) == lease {
				drops.Packets += uint64(e.Packet.Packets)
				drops.Bytes += uint64(e.Packet.Length)
				drops.Last = time.Duration(d.batches[i].Now)
			}
		})
	}
	return drops
}

// eachListed calls f with the packets in a buffer that listed sources sent: they
// are not yet counted for their leases.
func (b *weirBatch) eachListed(f func(*weirNoted)) {
	for i := range min(int(b.N), len(b.Noted)) {
		if e := &b.Noted[i]; e.Listed != 0 {
			f(e)
		}
	}
}

// countListed counts for their leases what the drained buffers still held.
func (d *Datapath) countListed(half int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := half * d.cpus; i < (half+1)*d.cpus; i++ {
		b := &d.batches[i]
		b.eachListed(func(e *weirNoted) {
			if lease := d.blocklist.leaseOf(e.Listed); lease != nobody {
				l := &d.leases[lease]
				atomic.AddUint64(&l.Packets, uint64(e.Packet.Packets))
				atomic.AddUint64(&l.Bytes, uint64(e.Packet.Length))
				atomic.StoreUint64(&l.Last, b.Now)
			}
		})
		b.N, b.Listed = 0, 0
	}
}
