package xdp

import "net/netip"

// targetScan joins the records of targets, of which every CPU has its own.
type targetScan struct {
	window func(slot int) *Window
	seen   map[targetKey]int // where in its window's list
}

type targetKey struct {
	slot uint8
	Target
}

func (d *Datapath) scanTargets(half int, window func(slot int) *Window) {
	s := targetScan{window, map[targetKey]int{}}
	n := d.cpus * targetStride
	for i := range d.targets[half*n : (half+1)*n] {
		if r := &d.targets[half*n+i]; r.Family != 0 {
			s.add(r)
		}
	}
	for i := half * d.cpus; i < (half+1)*d.cpus; i++ {
		for r := range d.batches[i].uncounted(d.seed) {
			t := r.target()
			s.add(&t)
		}
	}
}

func (s *targetScan) add(r *weirTarget) {
	w := s.window(int(r.Slot))
	if w == nil {
		return
	}
	t := Target{Class: r.Class, Protocol: r.Protocol, Port: r.Port, Destination: addr16(r.Destination.W)}
	if r.Destination.W == [4]uint32{} {
		t.Destination = netip.Addr{} // one of many
	} else if r.Family == 4 {
		b := t.Destination.As16()
		t.Destination = netip.AddrFrom4([4]byte(b[:4]))
	}
	at, ok := s.seen[targetKey{r.Slot, t}]
	if !ok {
		at = len(w.Targets)
		s.seen[targetKey{r.Slot, t}] = at
		w.Targets = append(w.Targets, t)
	}
	w.Targets[at].Packets += r.Packets
	w.Targets[at].Bytes += r.Bytes
	w.Targets[at].Dropped += r.Dropped
	w.Targets[at].SourceBits |= r.SourceBits
}
