package xdp

import "sync/atomic"

// dropping is an entry and its counters.
type dropping struct {
	Entry
	Drops
}

// Entries calls f with each lease and its counters until f returns false. What single
// sources lost is counted for their leases as windows are committed; Drops is never so
// late. The lock is free while f runs, so f may change leases; one that is put or deleted
// meanwhile may be seen or not.
func (d *Datapath) Entries(f func(Entry, Drops) bool) { d.walk(false, f) }

// Dropping is Entries of the leases that have met a packet, which costs little if
// few have.
func (d *Datapath) Dropping(f func(Entry, Drops) bool) { d.walk(true, f) }

func (d *Datapath) walk(onlyDropping bool, f func(Entry, Drops) bool) {
	var found []dropping
	for first := 0; first < len(d.leases); first += portionSize {
		found = d.page(found[:0], first, onlyDropping)
		for i := range found {
			if !f(found[i].Entry, found[i].Drops) {
				return
			}
		}
	}
}

// page appends the entries of one portion of the records.
func (d *Datapath) page(out []dropping, first int, onlyDropping bool) []dropping {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := first; i < min(first+portionSize, len(d.table.stages)); i++ {
		if d.table.stages[i] == stageNone {
			continue
		}
		l := &d.leases[i]
		if !onlyDropping || atomic.LoadUint64(&l.Last) != 0 {
			out = append(out, dropping{d.entry(l), dropsOf(l)})
		}
	}
	return out
}
