package xdp

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// portionSize is how many leases are changed at a time: the lock is free in
// between, and a call to the kernel has that many keys at most.
const portionSize = 8192

// portion is what a Put has still to enter in the maps of keys: one call to the
// kernel for all of them costs a fraction of one call for each.
type portion struct {
	exact    pairs[weirExactKey, uint32]
	prefixes pairs[weirPrefixKey, weirPrefixValue]
	allowed  pairs[weirPrefixKey, weirPrefixValue]
}

type pairs[K, V any] struct {
	keys   []K
	values []V
}

func (p *pairs[K, V]) add(k K, v V) {
	p.keys = append(p.keys, k)
	p.values = append(p.values, v)
}

// flush enters the pairs and returns the values that are not in because of an error.
func (p *pairs[K, V]) flush(m *ebpf.Map) (refused []V, err error) {
	if len(p.keys) == 0 {
		return nil, nil
	}
	n, err := m.BatchUpdate(p.keys, p.values, nil)
	if err != nil {
		refused = append(refused, p.values[min(n, len(p.values)):]...)
	}
	p.keys, p.values = p.keys[:0], p.values[:0]
	return refused, err
}

// add makes the program find lease i once the portion is flushed.
func (p *portion) add(m Match, s stage, i uint32) {
	selector, _ := selectorOf(m)
	switch {
	case s == stageExact, s == stageListed:
		p.exact.add(exactKeyOf(m.Source, selector), i)
	case s == stagePrefix:
		p.prefixes.add(prefixKeyOf(m.Source, selector), weirPrefixValue{Lease: i, Bits: uint32(m.Source.Bits())})
	case m.Source.IsValid():
		p.allowed.add(prefixKeyOf(m.Source, 0), weirPrefixValue{Lease: i, Bits: uint32(m.Source.Bits())})
	default:
		p.allowed.add(prefixKeyOf(m.Destination, 1), weirPrefixValue{Lease: i, Bits: uint32(m.Destination.Bits())})
	}
}

// flush enters the keys of the portion. Leases whose key the kernel refuses are
// given up.
func (d *Datapath) flush() error {
	p := &d.table.portion
	refused, err := p.exact.flush(d.maps["exact"])
	for _, i := range refused {
		d.giveUp(i)
	}
	errs := []error{err}
	for name, pairs := range map[string]*pairs[weirPrefixKey, weirPrefixValue]{"prefixes": &p.prefixes, "allowed": &p.allowed} {
		refused, err := pairs.flush(d.maps[name])
		for _, v := range refused {
			d.giveUp(v.Lease)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		if isFull(err) {
			return ErrFull
		}
		return fmt.Errorf("entering leases: %w", err)
	}
	return nil
}
