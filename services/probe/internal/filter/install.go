package filter

import (
	"errors"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/events"
)

// change is what is to be done to the data plane.
type change struct {
	where site
	put   []xdp.Entry
	gone  []xdp.Match
}

func (f *Filter) newChange(size int) *change {
	return &change{where: site{host: f.Host, interfaces: f.Interfaces(), instant: at(f.Now())}, put: make([]xdp.Entry, 0, size)}
}

// install brings the data plane in line for the touched matches.
func (f *Filter) install(touched []match) error {
	if len(touched) == 0 {
		return nil
	}
	c := f.newChange(len(touched))
	for _, m := range touched {
		f.add(c, m, f.live.first[m])
	}
	return f.apply(c)
}

// add puts into a change what a match needs, of which r is the first lease.
func (f *Filter) add(c *change, m match, r ref) {
	before := len(c.put)
	c.put = f.live.entries(c.put, r, &c.where)
	n := len(c.put) - before
	for v := n; v < f.variants(m); v++ {
		x := m.datapath()
		x.Variant = uint8(v)
		c.gone = append(c.gone, x)
	}
	f.setVariants(m, n, r != 0)
}

// variants returns how many entries a match may have in the data plane.
func (f *Filter) variants(m match) int {
	if n, ok := f.installed[m]; ok {
		return n
	}
	return 1
}

func (f *Filter) setVariants(m match, n int, isHeld bool) {
	switch {
	case n != 1 && isHeld:
		f.installed[m] = n
	case len(f.installed) > 0:
		delete(f.installed, m) // one that is not there is deleted at no cost
	}
}

func (f *Filter) apply(c *change) error {
	var errs []error
	if len(c.gone) > 0 {
		_, err := f.dp.Delete(c.gone)
		errs = append(errs, err)
	}
	if len(c.put) > 0 {
		errs = append(errs, f.dp.Put(c.put))
	}
	return errors.Join(errs...)
}

// report publishes what the data plane could not do.
func (f *Filter) report(err error) {
	if err == nil {
		return
	}
	kind := events.KindBadRecord
	if errors.Is(err, xdp.ErrFull) {
		kind = events.KindTableFull
	}
	f.Publish(events.Record{Kind: kind, Severity: events.Error, Reason: "changing the filter: " + err.Error()})
}

// inPortions visits every lease of a set that is live or to be so, letting go of
// the lock after each block, so that nobody waits for a million. What visit
// returns true for is installed if the set is in force by then. It returns the
// first error.
func (f *Filter) inPortions(s *set, visit func(*held) bool) error {
	var first error
	for n := 0; ; n++ {
		more, err := f.inBlock(s, n, visit)
		if first == nil {
			first = err
		}
		if !more {
			return first
		}
	}
}

func (f *Filter) inBlock(s *set, n int, visit func(*held) bool) (more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s != f.live && s != f.next || n >= len(s.blocks) {
		return false, nil
	}
	isInForce := s == f.live && f.next == nil
	c := f.newChange(0)
	for r, h := range s.block(n) {
		if !visit(h) || !isInForce {
			continue
		}
		if h.prev != 0 {
			r = s.first[h.match]
		}
		f.add(c, h.match, r)
	}
	return true, f.apply(c)
}

// installAll is mark and sweep: everything that should be there is put, and
// what the data plane holds beyond that is removed. Whatever changes meanwhile is
// installed by who changes it.
func (f *Filter) installAll() {
	f.mu.Lock()
	f.installed = map[match]int{}
	f.mu.Unlock()
	n, _ := f.dp.Len()
	err := f.putAll()
	if n > 0 { // else there is nothing that is not ours
		f.report(f.sweep())
	}
	if errors.Is(err, xdp.ErrFull) {
		err = f.putAll() // what has been swept away may have been in the way
	}
	f.report(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applyModes(nil)
}

// putAll puts everything that should be there: each match once, for the first of
// its leases.
func (f *Filter) putAll() error {
	return f.inPortions(f.live, func(h *held) bool { return h.prev == 0 })
}

// sweep removes entries that nothing asks for.
func (f *Filter) sweep() error {
	var errs []error
	some := make([]xdp.Match, 0, blockSize)
	f.dp.Entries(func(e xdp.Entry, _ xdp.Drops) bool {
		if some = append(some, e.Match); len(some) == cap(some) {
			errs = append(errs, f.sweepPortion(some))
			some = some[:0]
		}
		return true
	})
	return errors.Join(append(errs, f.sweepPortion(some))...)
}

func (f *Filter) sweepPortion(some []xdp.Match) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := change{gone: some[:0]}
	for i := range some {
		if m := packedEntry(&some[i]); f.live.first[m] == 0 || int(some[i].Variant) >= f.variants(m) {
			c.gone = append(c.gone, some[i])
		}
	}
	return f.apply(&c)
}
