package xdp

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
)

type prefixID struct {
	prefix   netip.Prefix
	selector uint8
}

// prefixTable knows which prefix leases there are and what the trie holds. The
// trie answers with the longest prefix only, while a packet is subject to all
// that cover it; so a prefix inside a stronger one is written with the lease of
// that one.
type prefixTable struct {
	own       map[prefixID]uint32 // its own lease
	installed map[prefixID]uint32 // the lease in the trie
	dirty     bool
}

func newPrefixTable() prefixTable {
	return prefixTable{own: map[prefixID]uint32{}, installed: map[prefixID]uint32{}, dirty: true}
}

func (t *prefixTable) add(p netip.Prefix, selector uint8, lease uint32) {
	t.own[prefixID{p, selector}] = lease
	t.dirty = true
}

func (t *prefixTable) remove(p netip.Prefix, selector uint8) {
	delete(t.own, prefixID{p, selector})
	t.dirty = true
}

// syncPrefixes writes the difference between what the trie should hold and what
// it does.
func (d *Datapath) syncPrefixes() error {
	t := &d.table.prefixes
	ids := make([]prefixID, 0, len(t.own))
	for id := range t.own {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b prefixID) int {
		return cmp.Or(cmp.Compare(a.selector, b.selector), a.prefix.Addr().Compare(b.prefix.Addr()),
			cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	wanted := make(map[prefixID]uint32, len(ids))
	var covering []prefixID // the chain of prefixes around the current one
	for _, id := range ids {
		for len(covering) > 0 {
			last := covering[len(covering)-1]
			if last.selector == id.selector && last.prefix.Overlaps(id.prefix) && last.prefix.Bits() <= id.prefix.Bits() {
				break
			}
			covering = covering[:len(covering)-1]
		}
		lease := t.own[id]
		if len(covering) > 0 {
			if outer := wanted[covering[len(covering)-1]]; d.stronger(outer, lease) {
				lease = outer
			}
		}
		wanted[id] = lease
		covering = append(covering, id)
	}
	return d.installPrefixes(wanted)
}

// stronger reports whether lease a decides for packets that b covers, too.
func (d *Datapath) stronger(a, b uint32) bool {
	x, y := &d.leases[a], &d.leases[b]
	return x.Action > y.Action && x.Interfaces&y.Interfaces == y.Interfaces
}

func (d *Datapath) installPrefixes(wanted map[prefixID]uint32) error {
	t := &d.table.prefixes
	for id, lease := range wanted {
		if have, ok := t.installed[id]; ok && have == lease {
			continue
		}
		if err := d.maps["prefixes"].Put(prefixKeyOf(id.prefix, id.selector), lease); err != nil {
			if isFull(err) {
				err = ErrFull
			}
			return fmt.Errorf("writing prefix %v: %w", id.prefix, err)
		}
		t.installed[id] = lease
	}
	for id := range t.installed {
		if _, ok := wanted[id]; ok {
			continue
		}
		err := d.maps["prefixes"].Delete(prefixKeyOf(id.prefix, id.selector))
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("removing prefix %v: %w", id.prefix, err)
		}
		delete(t.installed, id)
	}
	t.dirty = false
	return nil
}
