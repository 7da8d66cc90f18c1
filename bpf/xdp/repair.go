package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// rebuild learns the leases of an earlier process from their records, and brings
// the rest in line with those.
func (t *leaseTable) rebuild(d *Datapath) error {
	t.index = newLeaseIndex(len(d.leases))
	t.stages = make([]stage, len(d.leases))
	t.free = make([]uint32, 0, len(d.leases))
	for i := len(d.leases) - 1; i >= 0; i-- {
		l := &d.leases[i]
		if l.Used == 0 {
			t.free = append(t.free, uint32(i))
			continue
		}
		e := d.entry(l)
		s := classify(e.Match, e.Action)
		k := l.key()
		t.enter(uint32(i), s, &k, d.seed)
		t.tally(e.Match, s, 1)
		if s == stageSignature {
			t.signatures = append(t.signatures, e.Match)
		}
	}
	// What the maps held when the earlier process died may be half a change:
	// they are brought in line with the leases.
	if err := d.dropStale(); err != nil {
		return err
	}
	d.blocklist.adopt(d.control)
	d.blocklist.settleAll(d.leases)
	d.blocklist.largest = d.blocklist.size
	listed := make([]bool, len(d.leases))
	d.blocklist.repair(d.leases, func(word, lease uint32) (uint32, bool) {
		if !d.isListed(word, lease) || listed[lease] {
			return 0, false
		}
		listed[lease] = true
		return untilOf(&d.leases[lease]), true
	})
	for i, m := range d.live() {
		if s := t.stages[i]; s != stageSignature && !listed[i] {
			d.publish(m, s, i)
		}
	}
	if err := d.flush(); err != nil {
		return err
	}
	d.takeBack()
	d.rebuildPrefilter()
	if err := d.writeSignatures(); err != nil {
		return err
	}
	d.writeCounts()
	return nil
}

// isListed reports whether a lease is one that belongs in the sets, and of this
// address.
func (d *Datapath) isListed(word, lease uint32) bool {
	if int(lease) >= len(d.leases) {
		return false
	}
	return d.table.stages[lease] == stageListed && d.leases[lease].Source.W[0] == word
}

// dropStale removes what a half-done change left in the maps of keys: what is of
// no lease, or of another one.
func (d *Datapath) dropStale() error {
	of := func(i uint32, s stage) bool { return int(i) < len(d.leases) && d.table.stages[i] == s }
	// Those that belong in the sets go there again, and come back if one is full.
	err := sweepMap(d.maps["exact"], func(k weirExactKey, i uint32) bool {
		if !of(i, stageExact) {
			return false
		}
		m := d.entry(&d.leases[i]).Match
		selector, _ := selectorOf(m)
		return exactKeyOf(m.Source, selector) == k
	})
	for name, s := range map[string]stage{"prefixes": stagePrefix, "allowed": stageAllow} {
		err = errors.Join(err, sweepMap(d.maps[name], func(k weirPrefixKey, v weirPrefixValue) bool {
			return of(v.Lease, s) && trieKeyOf(d.entry(&d.leases[v.Lease]).Match, s) == k
		}))
	}
	return err
}

// sweepMap deletes the entries that keep refuses.
func sweepMap[K, V any](m *ebpf.Map, keep func(K, V) bool) error {
	var stale []K
	var key K
	var value V
	it := m.Iterate()
	for it.Next(&key, &value) {
		if !keep(key, value) {
			stale = append(stale, key)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("reading %v: %w", m, err)
	}
	for _, k := range stale {
		if err := m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("removing what is stale from %v: %w", m, err)
		}
	}
	return nil
}
