package xdp

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// each calls f with every listed source, and with those that found their set full.
func (b *blocklist) each(leases []weirLease, f func(word, lease, until uint32)) {
	for s := b.size; s < 2*b.size; s++ {
		set := &b.sets[s]
		for w := range listedWays {
			if set.Until[w] != 0 {
				f(set.Address[w], b.leases[s].Of[w], set.Until[w])
			}
		}
	}
	for _, waiting := range b.overflow {
		for _, i := range waiting {
			f(leases[i].Source.W[0], i, untilOf(&leases[i]))
		}
	}
}

// spread returns the list in another number of sets, which packets do not read yet.
func (b *blocklist) spread(leases []weirLease, size uint32) *blocklist {
	next := &blocklist{sets: b.sets, leases: b.leases, size: size, seed: b.seed, overflow: map[uint32][]uint32{}}
	clear(b.sets[size : 2*size])
	b.each(leases, func(word, lease, until uint32) { next.add(word, lease, until) })
	return next
}

// maxSets is how many sets can be in use.
func (b *blocklist) maxSets() uint32 { return uint32(len(b.sets) / 2) }

// makeRoom takes more sets before n more leases are listed, if those in use would
// be too full; so many that they will not be when the expected ones are listed too.
func (d *Datapath) makeRoom(n, expected int) error {
	b := &d.blocklist
	if b.n+n <= listedPerSet*int(b.size) || b.size >= b.maxSets() {
		return nil
	}
	return d.resize(min(listedSets(b.n+max(n, expected)), b.maxSets()))
}

// saveRoom takes fewer sets once the leases in them have become few.
func (d *Datapath) saveRoom() error {
	b := &d.blocklist
	if b.n >= int(b.size) || b.size == listedSetsMin {
		return nil
	}
	return d.resize(listedSets(2 * b.n))
}

// resize puts the listed sources in another number of sets. At no time is a source
// out of sight: where its set is full, before or after, it is in the map exact.
func (d *Datapath) resize(size uint32) error {
	if err := d.flush(); err != nil {
		return err
	}
	b := &d.blocklist
	b.settleAll(d.leases) // of the sets that are filled anew too
	next := b.spread(d.leases, size)
	entering, leaving := waitingIn(next, b), waitingIn(b, next)
	if err := d.enterExact(entering); err != nil {
		return errors.Join(err, d.leaveExact(entering))
	}
	d.table.counts.exactAny += len(entering)
	d.writeCounts()
	atomic.StoreUint32(&d.control.Listed, size)
	b.size, b.largest, b.overflow = size, max(b.largest, size), next.overflow
	d.table.counts.exactAny -= len(leaving)
	return d.leaveExact(leaving)
}

// waitingIn returns the leases whose set is full in a, but not in b.
func waitingIn(a, b *blocklist) (leases []uint32) {
	in := map[uint32]bool{}
	for _, waiting := range b.overflow {
		for _, i := range waiting {
			in[i] = true
		}
	}
	for _, waiting := range a.overflow {
		for _, i := range waiting {
			if !in[i] {
				leases = append(leases, i)
			}
		}
	}
	return leases
}

func (d *Datapath) exactKeys(leases []uint32) []weirExactKey {
	keys := make([]weirExactKey, len(leases))
	for n, i := range leases {
		keys[n] = exactKeyOf(d.entry(&d.leases[i]).Match.Source, selectorAny)
	}
	return keys
}

func (d *Datapath) enterExact(leases []uint32) error {
	if len(leases) == 0 {
		return nil
	}
	if _, err := d.maps["exact"].BatchUpdate(d.exactKeys(leases), leases, nil); err != nil {
		return fmt.Errorf("entering leases whose set is full: %w", err)
	}
	return nil
}

func (d *Datapath) leaveExact(leases []uint32) error {
	for _, k := range d.exactKeys(leases) {
		if err := d.maps["exact"].Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("removing leases whose set was full: %w", err)
		}
	}
	return nil
}
