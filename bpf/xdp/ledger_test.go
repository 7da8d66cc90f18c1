package xdp

import (
	"net/netip"
	"testing"
)

// ledger is what listed sources should be found to have lost.
type ledger struct {
	*rig
	t       *testing.T
	packets map[netip.Addr]Counters // in the open window
	leases  map[netip.Addr]uint64   // packets, since the lease began
	dropped uint64                  // by verdict
}

func newLedger(t *testing.T, cfg Config) *ledger {
	onOneCPU(t)
	return &ledger{rig: newRig(t, cfg), t: t, packets: map[netip.Addr]Counters{}, leases: map[netip.Addr]uint64{}}
}

func listedSource(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }

func dropOf(a netip.Addr) Entry {
	return Entry{Match: Match{Source: netip.PrefixFrom(a, 32)}, Action: ActionDrop, Interfaces: ^uint64(0)}
}

func udpFrom(src string) frame {
	return ethernet(0x0800).ipv4(src, "198.51.100.2", 17, 0).udp(53, 9999, 100)
}

// list puts leases on sources.
func (l *ledger) list(from, to int) {
	l.t.Helper()
	for i := from; i < to; i++ {
		l.put(dropOf(listedSource(i)))
		if _, ok := l.leases[listedSource(i)]; !ok {
			l.leases[listedSource(i)] = 0
		}
	}
}

func (l *ledger) unlist(i int) {
	l.t.Helper()
	if n, err := l.Delete([]Match{dropOf(listedSource(i)).Match}); n != 1 || err != nil {
		l.t.Fatalf("deleted %d leases, %v", n, err)
	}
	delete(l.leases, listedSource(i))
}

// send sends a frame of a listed source, or of one that no longer is.
func (l *ledger) send(i int, f frame, class int) {
	l.t.Helper()
	a := listedSource(i)
	copy(f[26:30], a.AsSlice())
	want := uint32(xdpPass)
	one := Counters{Packets: 1, Bytes: uint64(len(f))}
	one.ByClass[class] = 1
	if class == classUDP {
		one.UDPBytes = one.Bytes
	}
	if _, listed := l.leases[a]; listed {
		want, one.Dropped = xdpDrop, 1
		l.leases[a]++
		l.dropped++
	}
	if got := l.run(0, f, 1); got != want {
		l.t.Fatalf("%v left with verdict %d, want %d", a, got, want)
	}
	c := l.packets[a]
	sum(&c, &one)
	l.packets[a] = c
}

// check drains the window, and holds it, the leases and the verdicts against what was
// sent.
func (l *ledger) check() {
	l.t.Helper()
	for range 2 { // until it is committed, a window stays the same
		w := l.drain()
		var all Counters
		for _, s := range w.Sources.All() {
			if s.Counters != l.packets[s.Address] {
				l.t.Errorf("%v: %+v, want %+v", s.Address, s.Counters, l.packets[s.Address])
			}
			sum(&all, &s.Counters)
		}
		if w.Sources.Len() != len(l.packets) || w.Totals != all {
			l.t.Errorf("%d sources, want %d; totals %+v, sum %+v", w.Sources.Len(), len(l.packets), w.Totals, all)
		}
		var aimed, dropped uint64
		for _, x := range w.Targets {
			aimed, dropped = aimed+x.Packets, dropped+x.Dropped
		}
		if aimed != all.Packets || dropped != all.Dropped {
			l.t.Errorf("targets got %d packets and %d drops, want %d and %d", aimed, dropped, all.Packets, all.Dropped)
		}
		l.checkLeases()
		for cpu := range l.cpus { // of a source in the new window, the list need not be asked twice
			b := &l.batches[int(l.control.Epoch)*l.cpus+cpu]
			if l.Adopted() { // by a process that asked anew
				continue
			}
			if b.Generation != l.control.Generation || b.KnownUntil != untilNever {
				l.t.Errorf("CPU %d: generation %d of %d, known until %d", cpu, b.Generation, l.control.Generation, b.KnownUntil)
			}
		}
	}
	l.Commit()
	clear(l.packets)
	l.checkLeases()
}

func (l *ledger) checkLeases() {
	l.t.Helper()
	n := 0
	l.Entries(func(e Entry, committed Drops) bool {
		n++
		d, ok := l.Drops(e.Match)
		if !ok || committed.Packets > d.Packets {
			l.t.Errorf("lease of %v: %+v, and by windows that are committed %+v", e.Match.Source, d, committed)
		}
		if want := l.leases[e.Match.Source.Addr()]; d.Packets != want || (d.Last == 0) != (want == 0) {
			l.t.Errorf("lease of %v: %+v, want %d packets", e.Match.Source, d, want)
		}
		return true
	})
	if n != len(l.leases) {
		l.t.Errorf("%d leases, want %d", n, len(l.leases))
	}
	if v, err := l.Verdicts(0); err != nil || v["drop_source"] != l.dropped {
		l.t.Errorf("verdicts %v, want %d drops; %v", v, l.dropped, err)
	}
	if l.t.Failed() {
		l.t.FailNow()
	}
}

// eachListed calls f with the records of what listed sources lost.
func (l *ledger) eachListed(f func(region int, r *record4)) {
	table := &l.tables[0]
	for set := range table.four {
		for way := range table.four[set] {
			if r := &table.four[set][way]; r.word&listed4 == listed4 {
				f(set/table.sets, r)
			}
		}
	}
}

// direct returns how many there are.
func (l *ledger) direct() (n int) {
	l.eachListed(func(int, *record4) { n++ })
	return n
}
