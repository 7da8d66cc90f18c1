package xdp

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
)

// leaseTable is the control plane's picture of the filter; guarded by Datapath.mu.
type leaseTable struct {
	index      leaseIndex // of those that are not listed
	n          int
	stages     []stage // by lease
	free       []uint32
	signatures []Match // dense, in the order of the map
	portion    portion
	read       uint64
	counts     struct{ exactAny, exactClass, prefixAny, prefixClass, allowSource, allowDestination int }
	sources    struct{ exact4, narrow4, wide4, narrow6, wide6 int } // leases behind the prefilter, by how it is asked
	shapes     uint32                                               // of signatures, a bit each
}

// lease returns the lease of a Match.
func (d *Datapath) lease(m *Match) (uint32, bool) {
	k := keyOf(m)
	return d.find(&k)
}

// find returns the lease with a key. A source is found where the program finds it.
func (d *Datapath) find(k *matchKey) (uint32, bool) {
	if k.isSource4() {
		i, ok := d.blocklist.lease(k.source[0], d.leases)
		if ok || d.table.counts.allowSource == 0 { // what else such a key can be of
			return i, ok
		}
	}
	return d.table.index.find(d.leases, k, k.hash(d.seed))
}

// live are the leases, in the order of their records.
func (d *Datapath) live() iter.Seq2[uint32, Match] {
	return func(yield func(uint32, Match) bool) {
		for i, s := range d.table.stages {
			if s != stageNone && !yield(uint32(i), d.entry(&d.leases[i]).Match) {
				return
			}
		}
	}
}

// Put inserts or replaces leases. One with the Match, Action and Interfaces of a
// lease that is there is a renewal and keeps its counters. On ErrFull, the entries
// before the one that did not fit are in.
func (d *Datapath) Put(entries []Entry) error {
	for part := range slices.Chunk(entries, portionSize) {
		if err := d.putPortion(part); err != nil {
			return err
		}
	}
	return nil
}

func (d *Datapath) putPortion(entries []Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.writeCounts()
	var keys [aheadSize]matchKey
	all, before := len(entries), d.blocklist.n
	for len(entries) > 0 {
		n := min(len(entries), aheadSize)
		if err := d.makeRoom(n, expected(d.blocklist.n-before, all-len(entries), len(entries))); err != nil {
			return err
		}
		d.lookAhead(entries[:n], keys[:n])
		for i := range n {
			if err := d.put(&entries[i], &keys[i]); err != nil {
				return errors.Join(fmt.Errorf("putting %v: %w", entries[i].Match, err), d.flush())
			}
		}
		entries = entries[n:]
	}
	return d.flush()
}

// expected is how many more of a portion's entries will be listed anew, if the rest of
// them is as those that are done.
func expected(listed, done, rest int) int {
	if listed <= 0 {
		return 0
	}
	return listed * rest / done
}

func (d *Datapath) put(e *Entry, k *matchKey) error {
	t := &d.table
	s := stageListed
	if e.Action == ActionAllow || !k.isSource4() {
		s = classify(e.Match, e.Action)
	}
	i, exists := d.find(k)
	if exists && t.stages[i] == s {
		l := &d.leases[i]
		renewal := l.Wanted == uint8(e.Action) && l.Interfaces == e.Interfaces
		if !renewal && s == stageListed {
			d.disown(k.source[0])
		}
		d.writeLease(i, e, k, renewal)
		if s == stageListed && d.blocklist.renew(l.Source.W[0], untilOf(l)) {
			d.takeBack()
		}
		return nil
	}
	if exists {
		// Where it is may not be known to the kernel yet.
		if err := errors.Join(d.flush(), d.remove(e.Match, i)); err != nil {
			return err
		}
	}
	if d.isFull(s) {
		return ErrFull
	}
	i = t.free[len(t.free)-1]
	d.writeLease(i, e, k, false)
	t.free = t.free[:len(t.free)-1]
	t.enter(i, s, k, d.seed)
	if s == stageListed {
		t.sources.exact4++
		d.markSource4(k.source[0])
		d.list(k.source[0], i)
		return nil
	}
	t.tally(e.Match, s, 1)
	if s.filtered() {
		d.markSource(e.Match.Source)
	}
	if s == stageSignature {
		t.signatures = append(t.signatures, e.Match)
		return d.writeSignature(len(t.signatures)-1, e.Match, i)
	}
	d.publish(e.Match, s, i)
	return nil
}

// enter makes a lease known, which a listed one is by being listed.
func (t *leaseTable) enter(i uint32, s stage, k *matchKey, seed uint64) {
	t.n++
	t.stages[i] = s
	if s != stageListed {
		t.index.add(i, k.hash(seed))
	}
}

// isFull reports whether there is no room for another lease of a stage.
func (d *Datapath) isFull(s stage) bool {
	t := &d.table
	switch {
	case len(t.free) == 0:
		return true
	case s == stageSignature:
		return len(t.signatures) == MaxSignatures
	case s == stagePrefix:
		return t.counts.prefixAny+t.counts.prefixClass == d.cfg.MaxPrefixes
	case s == stageAllow:
		return t.counts.allowSource+t.counts.allowDestination == d.cfg.MaxPrefixes
	}
	return false
}

// publish makes the program find lease i: at once if it goes in the sets, else with
// the rest of the portion.
func (d *Datapath) publish(m Match, s stage, i uint32) {
	if s == stageListed {
		d.list(words(m.Source.Addr())[0], i)
		return
	}
	d.table.portion.add(m, s, i)
}

// list makes the program find the lease of a single IPv4 source.
func (d *Datapath) list(word, i uint32) {
	if !d.blocklist.add(word, i, untilOf(&d.leases[i])) {
		d.table.counts.exactAny++
		d.table.portion.add(d.entry(&d.leases[i]).Match, stageListed, i)
	}
}

// giveUp forgets a lease whose key the kernel refused.
func (d *Datapath) giveUp(i uint32) {
	m := d.entry(&d.leases[i]).Match
	if d.table.stages[i] == stageListed {
		_ = d.unlist(m, i) // it waits for a set to have room
	}
	d.forget(m, i)
}

// Delete removes leases and returns how many there were.
func (d *Datapath) Delete(matches []Match) (n int, err error) {
	for part := range slices.Chunk(matches, portionSize) {
		gone, failed := d.deletePortion(part)
		n, err = n+gone, errors.Join(err, failed)
	}
	return n, err
}

func (d *Datapath) deletePortion(matches []Match) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for j := range matches {
		if i, ok := d.lease(&matches[j]); ok {
			n++
			err = errors.Join(err, d.remove(matches[j], i))
		}
	}
	err = errors.Join(err, d.saveRoom())
	d.writeCounts()
	return n, err
}

// remove takes a lease away. The record is silenced first, so that no packet
// meets a lease that is half gone.
func (d *Datapath) remove(m Match, i uint32) error {
	t := &d.table
	s := t.stages[i]
	atomic.StoreUint32(&d.leases[i].Action, 0)
	var err error
	switch s {
	case stageSignature:
		if at := slices.Index(t.signatures, m); at >= 0 {
			t.signatures = slices.Delete(t.signatures, at, at+1)
		}
		err = d.writeSignatures()
	case stageListed:
		err = d.unlist(m, i)
	default:
		err = d.unpublish(m, s)
	}
	d.forget(m, i)
	if s.filtered() {
		d.unmark()
	}
	return err
}

// unpublish takes a key out of the map of its stage.
func (d *Datapath) unpublish(m Match, s stage) error {
	var err error
	switch s {
	case stageExact:
		selector, _ := selectorOf(m)
		err = d.maps["exact"].Delete(exactKeyOf(m.Source, selector))
	case stagePrefix:
		err = d.maps["prefixes"].Delete(trieKeyOf(m, s))
	default:
		err = d.maps["allowed"].Delete(trieKeyOf(m, s))
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("removing %v: %w", m, err)
	}
	return nil
}

// unlist removes a single source from its set, or from the map for those whose
// sets are full; those that have room then move up.
func (d *Datapath) unlist(m Match, i uint32) error {
	word := words(m.Source.Addr())[0]
	d.disown(word)
	isDropped := d.blocklist.isDropped(word, BootTime())
	moved, wasListed := d.blocklist.remove(word, i, d.leases)
	if isDropped {
		d.takeBack()
	}
	d.table.counts.exactAny -= len(moved)
	if wasListed {
		return d.leaveExact(moved)
	}
	d.table.counts.exactAny--
	return d.unpublish(m, stageExact)
}

func (d *Datapath) forget(m Match, i uint32) {
	t := &d.table
	if t.n--; t.stages[i] != stageListed {
		k := d.leases[i].key()
		t.index.remove(i, k.hash(d.seed))
	}
	t.tally(m, t.stages[i], -1)
	t.stages[i] = stageNone
	d.leases[i] = weirLease{Generation: d.leases[i].Generation}
	t.free = append(t.free, i)
}

// Sweep removes the leases that keep refuses: the second half of mark and sweep.
// It may be asked about a lease that is put or deleted meanwhile.
func (d *Datapath) Sweep(keep func(Entry) bool) (n int, err error) {
	for first := 0; first < len(d.leases); first += portionSize {
		gone, failed := d.sweepPortion(first, keep)
		n, err = n+gone, errors.Join(err, failed)
	}
	return n, err
}

func (d *Datapath) sweepPortion(first int, keep func(Entry) bool) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := first; i < min(first+portionSize, len(d.leases)); i++ {
		if d.table.stages[i] == stageNone {
			continue
		}
		if e := d.entry(&d.leases[i]); !keep(e) {
			n++
			err = errors.Join(err, d.remove(e.Match, uint32(i)))
		}
	}
	if n > 0 {
		err = errors.Join(err, d.saveRoom())
		d.writeCounts()
	}
	return n, err
}

// Drops returns the counters of one lease.
func (d *Datapath) Drops(m Match) (Drops, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.lease(&m)
	if !ok {
		return Drops{}, false
	}
	return d.drops(i), true
}

func dropsOf(l *weirLease) Drops {
	return Drops{
		Packets: atomic.LoadUint64(&l.Packets), Bytes: atomic.LoadUint64(&l.Bytes),
		Would: atomic.LoadUint64(&l.Would), WouldBytes: atomic.LoadUint64(&l.WouldBytes),
		Last: time.Duration(atomic.LoadUint64(&l.Last)),
	}
}

// Len returns how many leases there are and how many there can be.
func (d *Datapath) Len() (leases, capacity int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.table.n, len(d.leases)
}

// tally counts a lease in (+1) or out (-1) of its stage.
func (t *leaseTable) tally(m Match, s stage, by int) {
	selector, _ := selectorOf(m)
	if s.filtered() {
		switch {
		case isWide(m.Source):
			t.sources.wide6 += by
		case m.Source.Addr().Is6():
			t.sources.narrow6 += by
		case m.Source.IsSingleIP():
			t.sources.exact4 += by
		case m.Source.Bits() < wideBelow:
			t.sources.wide4 += by
		default:
			t.sources.narrow4 += by
		}
	}
	switch {
	case s == stageExact && selector == selectorAny:
		t.counts.exactAny += by
	case s == stageExact:
		t.counts.exactClass += by
	case s == stagePrefix && selector == selectorAny:
		t.counts.prefixAny += by
	case s == stagePrefix:
		t.counts.prefixClass += by
	case s == stageAllow && m.Source.IsValid():
		t.counts.allowSource += by
	case s == stageAllow:
		t.counts.allowDestination += by
	}
}

// Of types.h: kinds of leases that there may be on a packet.
const (
	kindsExact4 = 1 << iota
	kindsNarrow4
	kindsWide4
	kindsSource6
	kindsWide6
	kindsShapes = 1 << 8
	// Of an interface.
	kindsPlain = 1 << 29
	kindsOff   = 1 << 30
)

// kinds returns which of them there are.
func (t *leaseTable) kinds() uint32 {
	kinds := t.shapes * kindsShapes
	for bit, n := range map[uint32]int{
		kindsExact4: t.sources.exact4, kindsNarrow4: t.sources.narrow4, kindsWide4: t.sources.wide4,
		kindsSource6: t.sources.narrow6, kindsWide6: t.sources.wide6,
	} {
		if n > 0 {
			kinds |= bit
		}
	}
	return kinds
}

// isAnyAllow reports whether some lease may make a packet pass that others drop.
func (d *Datapath) isAnyAllow() bool {
	t := &d.table
	return t.counts.allowSource+t.counts.allowDestination > 0 || slices.ContainsFunc(t.signatures, func(m Match) bool {
		i, ok := d.lease(&m)
		return ok && Action(d.leases[i].Wanted) == ActionAllow
	})
}

// writeKinds tells the program what to ask, by interface.
func (d *Datapath) writeKinds() {
	kinds := d.table.kinds()
	plain := kinds != 0 && !d.isAnyAllow()
	for i := range d.control.Kinds {
		of := kinds
		switch mode := FilterMode(d.control.Mode[i]); {
		case mode == FilterOff:
			of |= kindsOff
		case mode == FilterEnforce && plain:
			of |= kindsPlain
		}
		atomic.StoreUint32(&d.control.Kinds[i], of)
	}
}

// writeCounts tells the program which stages have entries.
func (d *Datapath) writeCounts() {
	n, c := &d.table.counts, d.control
	d.writeKinds()
	atomic.StoreUint32(&c.AllowSource, uint32(n.allowSource))
	atomic.StoreUint32(&c.AllowDestination, uint32(n.allowDestination))
	atomic.StoreUint32(&c.ExactAny, uint32(n.exactAny))
	atomic.StoreUint32(&c.ExactClass, uint32(n.exactClass))
	atomic.StoreUint32(&c.PrefixAny, uint32(n.prefixAny))
	atomic.StoreUint32(&c.PrefixClass, uint32(n.prefixClass))
}
