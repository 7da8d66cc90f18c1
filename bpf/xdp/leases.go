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
	stageExact stage = iota
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

// leaseTable is the control plane's picture of the filter; guarded by Datapath.mu.
type leaseTable struct {
	byMatch    map[Match]uint32
	stages     map[Match]stage
	free       []uint32
	signatures []Match // dense, in the order of the map
	counts     struct{ exactAny, exactClass, prefixAny, prefixClass, allowSource, allowDestination int }
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
	t.byMatch, t.stages = map[Match]uint32{}, map[Match]stage{}
	for i := len(d.leases) - 1; i >= 0; i-- {
		l := &d.leases[i]
		if l.Used == 0 {
			t.free = append(t.free, uint32(i))
			continue
		}
		e := d.entry(l)
		s := classify(e.Match, e.Action)
		t.byMatch[e.Match], t.stages[e.Match] = uint32(i), s
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
	for m, i := range t.byMatch {
		if s := t.stages[m]; s != stageSignature {
			if err := d.publish(m, s, i); err != nil {
				return err
			}
		}
	}
	if err := d.writeSignatures(); err != nil {
		return err
	}
	d.writeCounts()
	return nil
}

// dropStale removes what a half-done Delete left in the maps of keys.
func (d *Datapath) dropStale() error {
	live := func(i uint32) bool { return int(i) < len(d.leases) && d.leases[i].Used != 0 }
	err := sweepMap(d.maps["exact"], func(_ weirExactKey, i uint32) bool { return live(i) })
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
	i, exists := t.byMatch[e.Match]
	if exists && t.stages[e.Match] != s {
		if err := d.remove(e.Match); err != nil {
			return err
		}
		exists = false
	}
	if exists {
		d.writeLease(i, e, d.leases[i].Wanted == uint8(e.Action) && d.leases[i].Interfaces == e.Interfaces)
		return nil
	}
	if len(t.free) == 0 || (s == stageSignature && len(t.signatures) == MaxSignatures) {
		return ErrFull
	}
	i = t.free[len(t.free)-1]
	d.writeLease(i, e, false)
	t.free = t.free[:len(t.free)-1]
	t.byMatch[e.Match], t.stages[e.Match] = i, s
	t.tally(e.Match, s, 1)
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
	name, key, bits := d.key(m, s)
	var value any = i
	if s != stageExact {
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
	case s == stageExact:
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
	i, s := t.byMatch[m], t.stages[m]
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
	default:
		name, key, _ := d.key(m, s)
		if err = d.maps[name].Delete(key); errors.Is(err, ebpf.ErrKeyNotExist) {
			err = nil
		}
	}
	d.forget(m, i)
	return err
}

func (d *Datapath) forget(m Match, i uint32) {
	d.leases[i] = weirLease{}
	d.table.tally(m, d.table.stages[m], -1)
	delete(d.table.byMatch, m)
	delete(d.table.stages, m)
	d.table.free = append(d.table.free, i)
}

// Sweep removes the leases that keep refuses: the second half of mark and sweep.
func (d *Datapath) Sweep(keep func(Entry) bool) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var gone []Match
	for m, i := range d.table.byMatch {
		if !keep(d.entry(&d.leases[i])) {
			gone = append(gone, m)
		}
	}
	return d.deleteAll(gone)
}

// Entries calls f with each lease and its counters until f returns false.
func (d *Datapath) Entries(f func(Entry, Drops) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, i := range d.table.byMatch {
		l := &d.leases[i]
		if !f(d.entry(l), dropsOf(l)) {
			return
		}
	}
}

// Drops returns the counters of one lease.
func (d *Datapath) Drops(m Match) (Drops, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.table.byMatch[m]
	if !ok {
		return Drops{}, false
	}
	return dropsOf(&d.leases[i]), true
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
