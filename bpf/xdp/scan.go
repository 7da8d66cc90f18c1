package xdp

import (
	"math"
	"math/bits"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// scanner reads the records of an ended window. A source has all its records within
// one cluster, the same on every CPU: so a cluster of all CPUs is read, its sources
// joined, counted and listed, while it is in the processor's nearest memory, and
// nothing is read twice.
//
// A cluster is a block of hot sets, and all other blocks in which there may be a record
// whose first set was there: those whose number is the same, modulo the hot blocks.
// Few of these are ever used, and none if all sets are hot.
type scanner struct {
	windows [MaxSlots]*Window // nil: of an interface that has gone
	slots   uint64            // bit by slot: it has a window
	half    int
	flood   bool // there is much to read
	tables  [2]tableScan
	parts   []part // in the order of the list of sources

	readers    []*reader
	conversing []netip.Addr
}

// tableScan is what is to be read of a table.
type tableScan struct {
	used     []uint64 // groups of sets in use on any CPU, as in sourceTable.dirty
	blocks   int
	clusters int    // a power of two
	late     []late // by cluster
	sorted   []late // room to sort them
	carrying []bool // by cluster: it has records that may outlive the window
	records  int    // of the CPU that has most
}

// part is a range of a table, which one goroutine reads. What ranges there are
// depends on the window only, and so does the order of the sources.
type part struct {
	table      int
	from, to   int // clusters
	mostListed int // sources per list, but for the heaviest
	lists      [MaxSlots]*list
}

const (
	tableParts  = 16   // of each table
	maxReaders  = 8    // more would wait for memory, not for a CPU
	floodGroups = 2048 // of sets in use: up to so many, one thread reads them
)

// reader reads parts, one after the other.
type reader struct {
	*Datapath
	part       *part
	sums       [1 << (kindShift + kindBits)]volume // by kind and slot, as in a record's key
	seen       uint64                              // bit by slot: the cluster that is being read has records of it
	kinds      [MaxSlots]uint32                    // of what kinds: bit by kind
	sketches   [MaxSlots]*sketches
	conversing []netip.Addr
	carries    bool // the cluster has records that may outlive the window
	hashKey    uint64
	claimed    [2][]int // records by table and CPU

	four   joiner4
	six    joiner6
	linked []record // of one source
}

type volume struct{ packets, bytes uint64 }

func (v *volume) add(o volume) { v.packets, v.bytes = v.packets+o.packets, v.bytes+o.bytes }

// scanSources reads the tables.
func (d *Datapath) scanSources(windows []Window, half int) {
	s := &d.scanner
	s.begin(d, windows, half)
	groups := 0
	for i := range d.tables {
		groups += d.look(&d.tables[i], &s.tables[i], half)
	}
	s.flood = groups > floodGroups
	s.share(len(s.parts), func(worker, i int) { s.readers[worker].read(&s.parts[i]) })
	s.end()
}

// clearSources empties the tables for the window after the next.
func (d *Datapath) clearSources(half int) {
	s := &d.scanner
	s.share(len(d.tables)*d.cpus, func(_, i int) {
		table, cpu := i%len(d.tables), i/len(d.tables)
		d.clear(&d.tables[table], half, cpu, s.tables[table].carrying)
	})
}

// share does n pieces of work, of which no two touch the same, and calls f with the
// number of the worker and of the piece. If there is much to do, several CPUs do it: the
// program runs in softirqs, which come before any thread, and the sooner this ends, the
// less of the packets' memory it pushes out of the caches. For few records a second
// thread is not worth waking.
func (s *scanner) share(n int, f func(worker, i int)) {
	if !s.flood || len(s.readers) == 1 {
		for i := range n {
			f(0, i)
		}
		return
	}
	var next atomic.Int64
	var workers sync.WaitGroup
	for worker := range s.readers {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(worker, i)
			}
		})
	}
	workers.Wait()
}

// mostListed is how many sources each of some parts of a table lists, so that all of
// them together list Config.MaxSources. Sources are spread evenly, but for chance.
func (d *Datapath) mostListed(parts int) int {
	if d.cfg.MaxSources == 0 {
		return math.MaxInt
	}
	return d.cfg.MaxSources/parts*5/4 + 1024
}

func (s *scanner) begin(d *Datapath, windows []Window, half int) {
	if s.readers == nil {
		for range min(runtime.GOMAXPROCS(0), maxReaders) {
			r := &reader{Datapath: d, hashKey: mix(d.seed) | 1}
			for i := range r.claimed {
				r.claimed[i] = make([]int, d.cpus)
			}
			s.readers = append(s.readers, r)
		}
		for i := range d.tables {
			s.tables[i].used = make([]uint64, d.tables[i].dirtyWords())
		}
		s.parts = make([]part, len(d.tables)*tableParts)
	}
	s.half, s.slots, s.windows = half, 0, [MaxSlots]*Window{}
	for i := range windows {
		s.slots |= 1 << windows[i].Slot
		s.windows[windows[i].Slot] = &windows[i]
	}
	for i := range s.parts {
		for _, l := range s.parts[i].lists {
			if l != nil {
				l.reset()
			}
		}
	}
	for _, r := range s.readers {
		clear(r.sums[:])
		clear(r.claimed[0])
		clear(r.claimed[1])
		r.sketches = [MaxSlots]*sketches{}
		r.conversing = r.conversing[:0]
	}
	s.conversing = s.conversing[:0]
}

// look finds what there is to read in a table, and returns how many groups of sets.
func (d *Datapath) look(t *sourceTable, x *tableScan, half int) (groups int) {
	n, hot := t.dirtyWords(), d.hot(t, half)
	x.blocks, x.clusters = max(1, t.sets/blockSets), max(1, hot/blockSets)
	x.carrying = slices.Repeat([]bool{false}, x.clusters)
	clear(x.used)
	for cpu := range d.cpus {
		for word, dirty := range t.dirty[(half*d.cpus+cpu)*n:][:n] {
			x.used[word] |= dirty
		}
	}
	x.late = d.lateOf(t, x.late[:0], half, hot)
	x.late, x.sorted = sortLate(x.late, x.sorted, x.clusters)
	for _, l := range x.late {
		x.used[l.cluster/wordBlocks] |= 1 << (l.cluster % wordBlocks * blockGroups)
	}
	for _, used := range x.used {
		groups += bits.OnesCount64(used)
	}
	parts := d.scanner.parts[t.number()*tableParts:][:tableParts]
	for i := range parts {
		p := &parts[i]
		p.table, p.from, p.to = t.number(), x.clusters*i/tableParts, x.clusters*(i+1)/tableParts
		p.mostListed = d.mostListed(min(tableParts, x.clusters))
	}
	return groups
}

// end gives the windows what the readers have found.
func (s *scanner) end() {
	for slot, w := range s.windows {
		if w == nil {
			continue
		}
		for _, r := range s.readers {
			for kind := range kindPairs {
				sum := &r.sums[kind<<kindShift|slot]
				w.Totals.add(kind, sum.packets, sum.bytes)
			}
			w.sketches = w.sketches.merge(r.sketches[slot])
		}
		for i := range s.parts {
			if l := s.parts[i].lists[slot]; l != nil && l.len() > 0 {
				w.Sources.lists = append(w.Sources.lists, l)
			}
		}
	}
	for _, r := range s.readers {
		s.conversing = append(s.conversing, r.conversing...)
	}
	for i := range s.tables {
		s.tables[i].records = s.most(i)
	}
}

// most returns how many records the CPU has that has most in a table.
func (s *scanner) most(table int) (most int) {
	for cpu := range s.readers[0].claimed[table] {
		sum := 0
		for _, r := range s.readers {
			sum += r.claimed[table][cpu]
		}
		most = max(most, sum)
	}
	return most
}

// read reads one part.
func (r *reader) read(p *part) {
	t, x := &r.tables[p.table], &r.scanner.tables[p.table]
	r.part = p
	for cluster := p.from; cluster < p.to; cluster++ {
		r.carries = false
		if t.family == 4 {
			r.cluster4(t, x, cluster)
		} else {
			r.cluster6(t, x, cluster)
		}
		x.carrying[cluster] = r.carries
	}
}

// usedIn returns the groups of sets of a block that are in use on any CPU.
func (x *tableScan) usedIn(block int) uint8 {
	return uint8(x.used[block/wordBlocks] >> (block % wordBlocks * blockGroups))
}

// lateIn returns the late records of a cluster.
func (x *tableScan) lateIn(cluster int) []late {
	if len(x.late) == 0 {
		return nil
	}
	by := func(l late, cluster int) int { return l.cluster - cluster }
	from, _ := slices.BinarySearchFunc(x.late, cluster, by)
	to, _ := slices.BinarySearchFunc(x.late, cluster+1, by)
	return x.late[from:to]
}

// tell counts a record, or several of the same key, and reports whether their interface
// has a window.
func (r *reader) tell(key uint64, v volume) bool {
	kind, slot := key>>kindShift&kindMask, key&slotMask
	if kind == classTCPOther {
		r.carries = true
	}
	if v == (volume{}) || r.scanner.slots>>slot&1 == 0 {
		return false // carried over and idle, or of an interface that has gone
	}
	r.seen |= 1 << slot
	r.kinds[slot] |= 1 << kind
	r.sums[key%(1<<(kindShift+kindBits))].add(v)
	return true
}

// volumeOf is what the counts of a record say.
func volumeOf(counts uint64) volume { return volume{counts >> byteBits, counts & byteMask} }

// list returns the list of sources of a slot, in the part that is being read.
func (r *reader) list(slot int) *list {
	l := r.part.lists[slot]
	if l == nil {
		l = &list{}
		r.part.lists[slot] = l
	}
	return l
}

// emitRecords lists a source of which there are several records, or one of IPv6.
func (r *reader) emitRecords(records []record) {
	slot := records[0].slot()
	if r.scanner.slots>>slot&1 == 0 {
		return
	}
	conversed, l := uint64(0), r.list(slot)
	sent := false
	for i := range records {
		sent = sent || records[i].counts != 0
		conversed += records[i].conversed()
	}
	switch {
	case !sent: // all are carried over and idle
	case l.len() < r.part.mostListed || l.offer(records):
		l.starts = append(l.starts, uint32(len(l.records)))
		l.records = append(l.records, records...)
	default:
		l.more++
	}
	if conversed >= establishedPackets {
		r.conversing = append(r.conversing, records[0].addr())
	}
}
