package xdp

import (
	"iter"
	"math/bits"
	"sync/atomic"
	"time"
)

// Of types.h.
const (
	directWays  = 1 << 14
	directWords = directWays / listedWays / 64
)

// directCounts are the drops of listed sources that were counted at once, by region
// and way; direct.h has the idea.
type directCounts struct {
	records []record4
	details []weirListedDetail
}

// directOf returns where the records of a region are that are in use, or may be.
func (d *Datapath) directOf(region int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for word := range directWords {
			for dirty := atomic.LoadUint64(&d.batches[region].Direct[word]); dirty != 0; dirty &= dirty - 1 {
				first := region*directWays + (word*64+bits.TrailingZeros64(dirty))*listedWays
				for i := first; i < first+listedWays; i++ {
					if !yield(i) {
						return
					}
				}
			}
		}
	}
}

// settleDirect adds to the leases what their sources have lost since it was last
// called. The records stay as they are until their window is committed: what of them
// is in the leases stands beside them. What there is of a source without a lease is
// nobody's: so this comes before a lease is taken away or begins anew.
func (d *Datapath) settleDirect() {
	now := BootTime()
	for word := range directWords {
		var dirty uint64
		for region := range d.batches {
			dirty |= atomic.LoadUint64(&d.batches[region].Direct[word])
		}
		for ; dirty != 0; dirty &= dirty - 1 {
			first := (word*64 + bits.TrailingZeros64(dirty)) * listedWays
			for way := first; way < first+listedWays; way++ {
				d.settleWay(way, now)
			}
		}
	}
}

// settleWay adds what all regions have of a way: one sum, but where they do not have it
// of the same source.
func (d *Datapath) settleWay(way int, now time.Duration) {
	var address uint32
	var sum volume
	for region := range d.batches {
		i := region*directWays + way
		r, settled := &d.direct.records[i], &d.direct.details[i].Settled
		word, counts := atomic.LoadUint64(&r.word), atomic.LoadUint64(&r.counts)
		if word == 0 || counts == *settled {
			continue
		}
		if uint32(word) != address {
			d.addToLease(way, address, sum, now)
			address, sum = uint32(word), volume{}
		}
		more := volumeOf(counts - *settled) // neither count ever goes down
		sum.packets += more.packets
		sum.bytes += more.bytes
		atomic.StoreUint64(settled, counts)
	}
	d.addToLease(way, address, sum, now)
}

// addToLease counts what a source lost, which was listed at a way.
func (d *Datapath) addToLease(way int, address uint32, lost volume, now time.Duration) {
	if lost == (volume{}) {
		return
	}
	lease, ok := d.blocklist.leaseNear(way, address, d.leases)
	if !ok || int(lease) >= len(d.leases) {
		return
	}
	l := &d.leases[lease]
	atomic.AddUint64(&l.Packets, lost.packets)
	atomic.AddUint64(&l.Bytes, lost.bytes)
	atomic.StoreUint64(&l.Last, uint64(now))
}

// leaseNear is lease of a source that is likely to be at a way.
func (b *blocklist) leaseNear(way int, word uint32, leases []weirLease) (lease uint32, ok bool) {
	s, w := b.size+uint32(way)/listedWays, way%listedWays
	if s < 2*b.size && b.sets[s].Address[w] == word && b.sets[s].Until[w] != 0 {
		return b.leaseAt(s, w), true
	}
	return b.lease(word, leases)
}

// directRecords calls f with the records of a half, and with their port pairs.
func (d *Datapath) directRecords(half int, f func(record)) {
	for region := half * d.cpus; region < (half+1)*d.cpus; region++ {
		for i := range d.directOf(region) {
			if d.direct.records[i].word == 0 {
				continue
			}
			r := d.direct.records[i].record()
			f(r)
			if pairs := d.direct.details[i].Pairs; pairs != 0 {
				f(r.pairs(pairs))
			}
		}
	}
}

// clearDirect empties the records of a half, which have been settled. What says where
// they are comes last: a later process may have to do it again.
func (d *Datapath) clearDirect(half int) {
	for region := half * d.cpus; region < (half+1)*d.cpus; region++ {
		for i := range d.directOf(region) {
			atomic.StoreUint64(&d.direct.records[i].word, 0)
			d.direct.records[i].counts = 0
			d.direct.details[i] = weirListedDetail{}
		}
		d.batches[region].Direct = [directWords]uint64{}
	}
}
