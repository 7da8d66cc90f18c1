package xdp

import "sync/atomic"

// dropping is an entry and its counters.
type dropping struct {
	Entry
	Drops
}

// Entries calls f with each lease and its counters until f returns false. The
// lock is free while f runs, so f may change leases; one that is put or deleted
// meanwhile may be seen or not.
func (d *Datapath) Entries(f func(Entry, Drops) bool) { d.walk(false, f) }

// Dropping is Entries of the leases that have met a packet, which costs little if
// few have.
func (d *Datapath) Dropping(f func(Entry, Drops) bool) { d.walk(true, f) }

func (d *Datapath) walk(onlyDropping bool, f func(Entry, Drops) bool) {
	d.mu.Lock()
	d.blocklist.settleAll(d.leases)
	d.settleDirect()
	d.mu.Unlock()
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
	buffered := map[uint32]bool{}
	for i := range d.batches {
		d.batches[i].eachListed(func(e *weirNoted) { buffered[d.blocklist.leaseOf(e.Listed)] = true })
	}
	for i := first; i < min(first+portionSize, len(d.table.stages)); i++ {
		if d.table.stages[i] == stageNone {
			continue
		}
		l := &d.leases[i]
		isBuffered := buffered[uint32(i)]
		if onlyDropping && !isBuffered && atomic.LoadUint64(&l.Last) == 0 {
			continue
		}
		drops := dropsOf(l)
		if isBuffered {
			drops = d.drops(uint32(i))
		}
		out = append(out, dropping{d.entry(l), drops})
	}
	return out
}
