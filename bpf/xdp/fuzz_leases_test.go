package xdp

import (
	"errors"
	"maps"
	"time"
)

func (f *fuzz) putSome() {
	batch := make([]Entry, 0, 4)
	for range 1 + f.IntN(4) {
		batch = append(batch, f.entry())
	}
	f.note("put %+v", batch)
	err := f.Put(batch)
	if err == nil {
		for _, e := range batch {
			f.leases.put(e)
		}
	} else if !errors.Is(err, ErrFull) || !f.stoppedShort(batch) {
		f.fail("putting: %v", err)
	}
	f.entriesAgree()
}

// stoppedShort brings the model to where the filter is after it took in only the
// beginning of a batch, and reports whether there is such a beginning.
func (f *fuzz) stoppedShort(batch []Entry) bool {
	there := f.entries()
	for _, e := range batch {
		// What changes its place in the filter loses the old one before it has a new.
		changed := f.leases[e.Match] != nil && classify(e.Match, f.leases[e.Match].Action) != classify(e.Match, e.Action)
		without := maps.Clone(f.leases)
		if changed {
			delete(without, e.Match)
		}
		if sameMatches(without, there) && f.isFull(e, without) {
			f.leases = without
			return true
		}
		f.leases.put(e)
	}
	return false
}

func sameMatches(a, b leaseModel) bool {
	for m := range a {
		if b[m] == nil {
			return false
		}
	}
	return len(a) == len(b)
}

// isFull says whether there is really no place for e.
func (f *fuzz) isFull(e Entry, leases leaseModel) bool {
	s, same := classify(e.Match, e.Action), 0
	for m, l := range leases {
		if classify(m, l.Action) == s {
			same++
		}
	}
	return leases[e.Match] == nil && (len(leases) == f.cfg.MaxLeases || s == stageSignature && same == MaxSignatures ||
		(s == stagePrefix || s == stageAllow) && same == f.cfg.MaxPrefixes)
}

func (f *fuzz) deleteSome() {
	var gone []Match
	for m := range f.leases {
		if f.IntN(6) == 0 {
			gone = append(gone, m)
		}
	}
	f.note("delete %+v", gone)
	n, err := f.Delete(append(gone, Match{Protocol: 99}))
	if err != nil || n != len(gone) {
		f.fail("deleted %d of %d: %v", n, len(gone), err)
	}
	for _, m := range gone {
		delete(f.leases, m)
	}
}

func (f *fuzz) sweep() {
	keep := Action(1 + f.IntN(4))
	f.note("sweep all but %d", keep)
	n, err := f.Sweep(func(e Entry) bool { return e.Action == keep })
	want := 0
	for m, e := range f.leases {
		if e.Action != keep {
			delete(f.leases, m)
			want++
		}
	}
	if err != nil || n != want {
		f.fail("swept %d, want %d: %v", n, want, err)
	}
}

func (f *fuzz) entries() leaseModel {
	all := leaseModel{}
	f.Entries(func(e Entry, committed Drops) bool {
		d, ok := f.Drops(e.Match)
		if !ok || committed.Packets > d.Packets || committed.Bytes > d.Bytes || committed.Last > d.Last {
			f.fail("lease %+v has lost %+v, and by windows that are committed %+v", e, d, committed)
		}
		all[e.Match] = &leaseState{e, d}
		return true
	})
	return all
}

// entriesAgree holds all leases against the model, to the last field.
func (f *fuzz) entriesAgree() {
	got := f.entries()
	if n, capacity := f.Len(); n != len(got) || capacity != f.cfg.MaxLeases || n != len(f.leases) {
		f.fail("%d of %d leases, %d listed, want %d", n, capacity, len(got), len(f.leases))
	}
	for m, e := range f.leases {
		g := got[m]
		if g != nil && g.drops.Last >= e.drops.Last {
			// Of a drop that is not yet counted for its lease, the time is only known as not
			// before that of the packet.
			e.drops.Last = g.drops.Last
		}
		if g == nil || *g != *e {
			f.fail("lease %+v, want %+v", g, e)
		}
	}
}

func (f *fuzz) entry() Entry {
	g := &generator{f.Rand, f.IntN(2) == 0}
	e := g.entry()
	if e.Interfaces = ^uint64(0); f.IntN(2) == 0 {
		e.Interfaces = uint64(1 + f.IntN(1<<fuzzSlots-1))
	}
	e.Offset = f.Int64N(1 << 40)
	switch f.IntN(8) {
	case 0:
		e.ExpiresAt = BootTime() + time.Duration(f.IntN(int(200*time.Millisecond)))
	case 1:
		e.Match.Variant = byte(f.IntN(3))
	case 2:
		e.Match.Protocol = f.next()
	case 3:
		e.Match.Protocol, e.Match.FlagMask, e.Match.FlagValue = 6, 0x12, byte(f.pick(0, 2, 0x10, 0x12))
	case 4:
		e.Match.Protocol, e.Match.SourcePort = 17, uint16(f.pick(53, 123))
	case 5:
		e.Match.Fragments = true
	}
	if e.Action == ActionRateLimit {
		e.PPS, e.BPS = uint64(f.pick(0, 1, 100, unreachable)), uint64(f.pick(0, 1, 1_000_000, 1000*unreachable))
	}
	return e
}
