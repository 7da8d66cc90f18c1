package filter

import (
	"errors"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/events"
)

// install brings the data plane in line for the touched matches.
func (f *Filter) install(touched []match) error {
	if len(touched) == 0 {
		return nil
	}
	where := site{host: f.Host, interfaces: f.Interfaces(), instant: at(f.Now())}
	put := make([]xdp.Entry, 0, len(touched))
	var gone []xdp.Match
	for _, m := range touched {
		before := len(put)
		put = f.live.entries(put, m, &where)
		n := len(put) - before
		for v := n; v < f.variants(m); v++ {
			x := m.datapath()
			x.Variant = uint8(v)
			gone = append(gone, x)
		}
		f.setVariants(m, n)
	}
	return f.change(put, gone)
}

// variants returns how many entries a match may have in the data plane.
func (f *Filter) variants(m match) int {
	if n, ok := f.installed[m]; ok {
		return n
	}
	return 1
}

func (f *Filter) setVariants(m match, n int) {
	if n == 1 || n == 0 && f.live.first[m] == 0 {
		delete(f.installed, m) // one that is not there is deleted at no cost
	} else {
		f.installed[m] = n
	}
}

func (f *Filter) change(put []xdp.Entry, gone []xdp.Match) error {
	var errs []error
	if len(gone) > 0 {
		_, err := f.dp.Delete(gone)
		errs = append(errs, err)
	}
	if len(put) > 0 {
		errs = append(errs, f.dp.Put(put))
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
	var touched []match
	for _, h := range s.block(n) {
		if visit(h) {
			touched = append(touched, h.match)
		}
	}
	if s != f.live || f.next != nil {
		return true, nil
	}
	return true, f.install(touched)
}

// installAll is mark and sweep: everything that should be there is put, and
// what the data plane holds beyond that is removed. Whatever changes meanwhile is
// installed by who changes it.
func (f *Filter) installAll() {
	f.mu.Lock()
	f.installed = map[match]int{}
	f.mu.Unlock()
	err := f.putAll()
	f.report(f.sweep())
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
	gone := some[:0]
	for i := range some {
		if m := packedEntry(&some[i]); f.live.first[m] == 0 || int(some[i].Variant) >= f.variants(m) {
			gone = append(gone, some[i])
		}
	}
	return f.change(nil, gone)
}
