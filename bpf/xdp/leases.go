package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
)

// stage says which map finds a lease.
type stage uint8

const (
	stageListed stage = iota // a single IPv4 source, whatever it sends
	stageExact
	stagePrefix
	stageAllow
	stageSignature
)

// Selectors of source leases that cover a part of the source's packets only.
const (
	selectorAny      = 0
	selectorSYN      = 1 + classSYN
	selectorSYNACK   = 1 + classSYNACK
	selectorLater    = 1 + classFragLater
	selectorProtocol = 128
)

const (
	flagSYN = 0x02
	flagACK = 0x10
)

// place is where a lease is.
type place struct {
	lease uint32
	stage stage
}

// leaseTable is the control plane's picture of the filter; guarded by Datapath.mu.
type leaseTable struct {
	byMatch    map[Match]place
	free       []uint32
	signatures []Match // dense, in the order of the map
	counts     struct{ exactAny, exactClass, prefixAny, prefixClass, allowSource, allowDestination, wide6, sources int }
}

// classify says where a lease goes. Allow leases win
// over everything; those for one address or prefix have a map of their own.
func classify(m Match, a Action) stage {
	plain := m.SourcePort == 0 && m.DestinationPort == 0 && m.Variant == 0
	whole := plain && m.Protocol == 0 && m.FlagMask == 0 && !m.Fragments
	if a == ActionAllow && whole && (m.Source.IsValid() != m.Destination.IsValid()) {
		return stageAllow
	}
	if a == ActionAllow || !plain || m.Destination.IsValid() || !m.Source.IsValid() || m.Source.Bits() == 0 {
		return stageSignature
	}
	if _, ok := selectorOf(m); !ok {
		return stageSignature
	}
	if m.Source.IsSingleIP() {
		if selector, _ := selectorOf(m); selector == selectorAny && m.Source.Addr().Is4() {
			return stageListed
		}
		return stageExact
	}
	return stagePrefix
}

func selectorOf(m Match) (uint8, bool) {
	switch {
	case m.Fragments:
		return selectorLater, m.Protocol == 0 && m.FlagMask == 0
	case m.Protocol == 0 && m.FlagMask == 0:
		return selectorAny, true
	case m.Protocol == 6 && m.FlagMask == flagSYN|flagACK && m.FlagValue == flagSYN:
		return selectorSYN, true
	case m.Protocol == 6 && m.FlagMask == flagSYN|flagACK && m.FlagValue == flagSYN|flagACK:
		return selectorSYNACK, true
	case m.FlagMask == 0 && m.Protocol < selectorProtocol:
		return selectorProtocol | m.Protocol, true
	}
	return 0, false
}

func (t *leaseTable) rebuild(d *Datapath) error {
	t.byMatch = map[Match]place{}
	for i := len(d.leases) - 1; i >= 0; i-- {
		l := &d.leases[i]
		if l.Used == 0 {
			t.free = append(t.free, uint32(i))
			continue
		}
		e := d.entry(l)
		s := classify(e.Match, e.Action)
		t.byMatch[e.Match] = place{uint32(i), s}
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
	listed := map[uint32]bool{}
	d.blocklist.repair(func(word, lease uint32) bool {
		ok := d.isListed(word, lease)
		listed[lease] = listed[lease] || ok
		return ok
	})
	for m, at := range t.byMatch {
		if at.stage.filtered() {
			d.blocklist.mark(d.control.Generation, m.Source)
		}
		if at.stage == stageSignature || listed[at.lease] {
			continue
		}
		if err := d.publish(m, at.stage, at.lease); err != nil {
			return err
		}
	}
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
	l := &d.leases[lease]
	if l.Used == 0 || l.Source.W[0] != word {
		return false
	}
	e := d.entry(l)
	return classify(e.Match, e.Action) == stageListed
}

// dropStale removes what a half-done Delete left in the maps of keys.
func (d *Datapath) dropStale() error {
	live := func(i uint32) bool { return int(i) < len(d.leases) && d.leases[i].Used != 0 }
	// Those that belong in the sets go there again, and come back if one is full.
	err := sweepMap(d.maps["exact"], func(k weirExactKey, i uint32) bool { return live(i) && !d.isListed(k.Address.W[0], i) })
	for _, name := range []string{"prefixes", "allowed"} {
		err = errors.Join(err, sweepMap(d.maps[name], func(_ weirPrefixKey, v weirPrefixValue) bool { return live(v.Lease) }))
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

// Put inserts or replaces leases. One with the Match, Action and Interfaces of a
// lease that is there is a renewal and keeps its counters. On ErrFull, the entries before the one that did not fit are in.
func (d *Datapath) Put(entries []Entry) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer d.writeCounts()
	for _, e := range entries {
		if err := d.put(e); err != nil {
			return fmt.Errorf("putting %v: %w", e.Match, err)
		}
	}
	return nil
}

func (d *Datapath) put(e Entry) error {
	t := &d.table
	s := classify(e.Match, e.Action)
	at, exists := t.byMatch[e.Match]
	if exists && at.stage != s {
		if err := d.remove(e.Match); err != nil {
			return err
		}
		exists = false
	}
	if i := at.lease; exists {
		d.writeLease(i, e, d.leases[i].Wanted == uint8(e.Action) && d.leases[i].Interfaces == e.Interfaces)
		return nil
	}
	if len(t.free) == 0 || (s == stageSignature && len(t.signatures) == MaxSignatures) {
		return ErrFull
	}
	i := t.free[len(t.free)-1]
	d.writeLease(i, e, false)
	t.free = t.free[:len(t.free)-1]
	t.byMatch[e.Match] = place{i, s}
	t.tally(e.Match, s, 1)
	if s.filtered() {
		d.blocklist.mark(d.control.Generation, e.Match.Source)
	}
	if s == stageSignature {
		t.signatures = append(t.signatures, e.Match)
		return d.writeSignature(len(t.signatures)-1, e.Match, i)
	}
	if err := d.publish(e.Match, s, i); err != nil {
		d.forget(e.Match, i)
		return err
	}
	return nil
}

// publish makes the program find lease i.
func (d *Datapath) publish(m Match, s stage, i uint32) error {
	if s == stageListed {
		if d.blocklist.add(words(m.Source.Addr())[0], i) {
			return nil
		}
		d.table.counts.exactAny++
	}
	name, key, bits := d.key(m, s)
	var value any = i
	if s != stageExact && s != stageListed {
		value = weirPrefixValue{Lease: i, Bits: uint32(bits)}
	}
	err := d.maps[name].Put(key, value)
	if errors.Is(err, ebpf.ErrKeyExist) || isFull(err) {
		return ErrFull
	}
	return err
}

// key returns the map of a stage, the key of a match in it, and the length of
// the prefix where it is one.
func (d *Datapath) key(m Match, s stage) (name string, key any, bits int) {
	selector, _ := selectorOf(m)
	switch {
	case s == stageExact, s == stageListed:
		k := weirExactKey{Family: family(m.Source), Selector: selector}
		k.Address.W = words(m.Source.Addr())
		return "exact", k, 0
	case s == stagePrefix:
		return "prefixes", prefixKeyOf(m.Source, selector), m.Source.Bits()
	case m.Source.IsValid():
		return "allowed", prefixKeyOf(m.Source, 0), m.Source.Bits()
	}
	return "allowed", prefixKeyOf(m.Destination, 1), m.Destination.Bits()
}

func prefixKeyOf(p netip.Prefix, selector uint8) weirPrefixKey {
	k := weirPrefixKey{Bits: 32 + uint32(p.Bits()), Family: family(p), Selector: selector}
	k.Address.W = words(p.Addr())
	return k
}

// Delete removes leases and returns how many there were.
func (d *Datapath) Delete(matches []Match) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.deleteAll(matches)
}

func (d *Datapath) deleteAll(matches []Match) (n int, err error) {
	for _, m := range matches {
		if _, ok := d.table.byMatch[m]; !ok {
			continue
		}
		n++
		err = errors.Join(err, d.remove(m))
	}
	d.writeCounts()
	return n, err
}

// remove takes a lease away. The record is silenced first, so that no packet
// meets a lease that is half gone.
func (d *Datapath) remove(m Match) error {
	t := &d.table
	i, s := t.byMatch[m].lease, t.byMatch[m].stage
	atomic.StoreUint32(&d.leases[i].Action, 0)
	var err error
	switch s {
	case stageSignature:
		for at := range t.signatures {
			if t.signatures[at] == m {
				t.signatures = append(t.signatures[:at], t.signatures[at+1:]...)
				break
			}
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

func (d *Datapath) unpublish(m Match, s stage) error {
	name, key, _ := d.key(m, s)
	if err := d.maps[name].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("removing %v: %w", m, err)
	}
	return nil
}

// unlist removes a single source from its set, or from the map for those whose
// set is full; one of those may move up.
func (d *Datapath) unlist(m Match, i uint32) error {
	moved, isMoved, wasListed := d.blocklist.remove(words(m.Source.Addr())[0], i, func(lease uint32) uint32 {
		return d.leases[lease].Source.W[0]
	})
	switch {
	case isMoved:
		d.table.counts.exactAny--
		return d.unpublish(d.entry(&d.leases[moved]).Match, stageExact)
	case !wasListed:
		d.table.counts.exactAny--
		return d.unpublish(m, stageExact)
	}
	return nil
}

func (d *Datapath) forget(m Match, i uint32) {
	d.leases[i] = weirLease{Generation: d.leases[i].Generation}
	d.table.tally(m, d.table.byMatch[m].stage, -1)
	delete(d.table.byMatch, m)
	d.table.free = append(d.table.free, i)
}

// Sweep removes the leases that keep refuses: the second half of mark and sweep.
func (d *Datapath) Sweep(keep func(Entry) bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var gone []Match
	for m, at := range d.table.byMatch {
		if !keep(d.entry(&d.leases[at.lease])) {
			gone = append(gone, m)
		}
	}
	return d.deleteAll(gone)
}

// Entries calls f with each lease and its counters until f returns false.
func (d *Datapath) Entries(f func(Entry, Drops) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range d.table.byMatch {
		l := &d.leases[at.lease]
		if !f(d.entry(l), dropsOf(l)) {
			return
		}
	}
}

// Drops returns the counters of one lease.
func (d *Datapath) Drops(m Match) (Drops, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.table.byMatch[m]
	if !ok {
		return Drops{}, false
	}
	return dropsOf(&d.leases[at.lease]), true
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
	return len(d.table.byMatch), len(d.leases)
}

// tally counts a lease in (+1) or out (-1) of its stage.
func (t *leaseTable) tally(m Match, s stage, by int) {
	selector, _ := selectorOf(m)
	if s.filtered() {
		t.counts.sources += by
		if isWide(m.Source) {
			t.counts.wide6 += by
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

// writeCounts tells the program which stages have entries.
func (d *Datapath) writeCounts() {
	n, c := &d.table.counts, d.control
	atomic.StoreUint32(&c.Wide6, uint32(n.wide6))
	atomic.StoreUint32(&c.Any, uint32(n.sources+len(d.table.signatures)))
	atomic.StoreUint32(&c.AllowSource, uint32(n.allowSource))
	atomic.StoreUint32(&c.AllowDestination, uint32(n.allowDestination))
	atomic.StoreUint32(&c.ExactAny, uint32(n.exactAny))
	atomic.StoreUint32(&c.ExactClass, uint32(n.exactClass))
	atomic.StoreUint32(&c.PrefixAny, uint32(n.prefixAny))
	atomic.StoreUint32(&c.PrefixClass, uint32(n.prefixClass))
}

func family(p netip.Prefix) uint8 {
	switch {
	case !p.IsValid():
		return 0
	case p.Addr().Is4():
		return 4
	}
	return 6
}

func words(a netip.Addr) (w [4]uint32) {
	if a.Is4() {
		b := a.As4()
		w[0] = binary.NativeEndian.Uint32(b[:])
		return w
	}
	b := a.As16()
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}
