package xdp

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNothingWraps: a record that is full is left alone, and what it counted
// stays.
func TestNothingWraps(t *testing.T) {
	r := newRig(t, Config{})
	const full = 1<<23 - 1
	f := synFrom("203.0.113.9")
	send := func() { // of many flows, so that the table and not the buffer counts
		for i := range uint16(64) {
			binary.BigEndian.PutUint16(f[34:], 1000+i)
			r.run(0, f, 1)
		}
	}
	send()
	table := &r.tables[0]
	before := uint64(0)
	for i := range table.sets * setWays * r.cpus * 2 {
		if rec := table.read(i); rec.key&keyUsed != 0 && rec.kind() == classSYN {
			before = rec.packets()
			*table.counts(i) |= full << byteBits
		}
	}
	if before == 0 {
		t.Fatal("the batch was not counted")
	}
	send()
	retired := 0
	for i := range table.sets * setWays * r.cpus * 2 {
		if rec := table.read(i); rec.key&keyRetired != 0 {
			retired++
		}
	}
	if retired == 0 {
		t.Error("no full record is retired")
	}
	out, err := r.Drain()
	if err != nil {
		t.Fatal(err)
	}
	s := out.Windows[0].Sources
	if n := s.At(0).ByClass[classSYN]; s.Len() != 1 || n < full+64 || n > full+128 {
		t.Errorf("%d sources, the first with %d packets, want one with %d and what came after", s.Len(), n, full)
	}
}

// TestPortPairs: many pairs of a source show as many bits, few as few; of both families.
func TestPortPairs(t *testing.T) {
	for _, f := range []frame{
		ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 17, 0).udp(1000, 53, 8),
		ethernet(0x86dd).ipv6("2001:db8:1::", "2001:db8::1", 17).udp(1000, 53, 8),
	} {
		for _, c := range []struct{ pairs, least, most int }{{1, 1, 1}, {200, 50, 64}} {
			r := newRig(t, Config{})
			for i := range 400 {
				binary.BigEndian.PutUint16(f[len(f)-16:], uint16(1000+i%c.pairs))
				r.run(0, f, 1)
			}
			w := r.drain()
			if n := bits.OnesCount64(w.Sources.At(0).PortPairs); n < c.least || n > c.most || w.Sources.Len() != 1 {
				t.Errorf("%d pairs of %d bytes of one source gave %d bits, and %d sources", c.pairs, len(f), n, w.Sources.Len())
			}
		}
	}
}

// TestKnownSourceKeepsItsPlace: who converses is counted by name also in the
// window in which a flood of new sources comes before it.
func TestKnownSourceKeepsItsPlace(t *testing.T) {
	onOneCPU(t) // a place is one of a CPU's table, and receive queues keep to theirs
	r := newRig(t, Config{SourceWays: 64})
	known := ethernet(0x0800).ipv4("198.51.100.7", "198.51.100.1", 6, 0).tcp(1234, 80, flagACK)
	converse := func() {
		for i := range uint16(40) {
			binary.BigEndian.PutUint16(known[34:], 1000+i)
			r.run(0, known, 1)
		}
	}
	for range 4 {
		converse()
		r.drain()
		r.Commit()
	}
	for range 6 { // the flood goes on for longer than a place is empty
		f := synFrom("203.0.113.1")
		for i := range uint32(2000) {
			binary.BigEndian.PutUint32(f[26:], 0x0a000000+i)
			r.run(0, f, 1)
		}
		converse()
		w := r.drain()
		if !w.Truncated {
			t.Fatal("the flood fitted")
		}
		var found uint64
		for _, s := range w.Sources.All() {
			if s.Address == netip.MustParseAddr("198.51.100.7") {
				found += s.ByClass[classTCPOther]
			}
		}
		if found != 40 {
			t.Errorf("%d of 40 packets of the known source were counted by name", found)
		}
		r.Commit()
	}
	for range 2*carryIdle + 2 {
		r.drain()
		r.Commit()
	}
	for _, dirty := range r.tables[0].dirty {
		if dirty != 0 {
			t.Error("a source that has gone keeps its place for ever")
		}
	}
}

// onOneCPU keeps the test on the CPU that it is on.
func onOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var was, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &was); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if was.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.SchedSetaffinity(0, &was); err != nil {
			t.Error(err)
		}
		runtime.UnlockOSThread()
	})
}

// TestManyTargets: a flood of many destinations fills the table of targets, and
// the port still adds up.
func TestManyTargets(t *testing.T) {
	r := newRig(t, Config{})
	const n = 12_000
	f := synFrom("203.0.113.9")
	for i := range uint32(n) {
		binary.BigEndian.PutUint32(f[30:], 0xc6000000+i)
		r.run(0, f, 1)
	}
	w := r.drain()
	var all, named, byPort uint64
	for _, x := range w.Targets {
		all += x.Packets
		if x.Destination.IsValid() {
			named += x.Packets
		}
		if x.Port == 80 {
			byPort += x.Packets
		}
	}
	if all+w.NoTarget != n || byPort < n*9/10 || named < 4000 {
		t.Errorf("of %d packets %d have a destination, %d the port, %d nothing", n, named, byPort, w.NoTarget)
	}
}

// TestTrains: packets of one flow that follow each other are joined in the
// buffer, and no one is lost by it.
func TestTrains(t *testing.T) {
	onOneCPU(t)
	r := newRig(t, Config{})
	f, g := synFrom("203.0.113.9"), ethernet(0x86dd).ipv6("2001:db8::9", "2001:db8::1", 6).tcp(1234, 80, flagSYN)
	total := uint64(0)
	for i := range 40 {
		for range i {
			r.run(0, f, 1)
			total++
		}
		r.run(0, g, 1)
	}
	r.put(Entry{Match: source("203.0.113.9/32"), Action: ActionDrop})
	r.run(0, f, 500) // the same flow, but dropped
	w := r.drain()
	if w.Totals.Packets != total+540 || w.Totals.Dropped != 500 {
		t.Errorf("%d packets and %d dropped, want %d and 500", w.Totals.Packets, w.Totals.Dropped, total+540)
	}
	if want := (total+500)*uint64(len(f)) + 40*uint64(len(g)); w.Totals.Bytes != want {
		t.Errorf("%d bytes, want %d", w.Totals.Bytes, want)
	}
}

// TestOneLivelySource: a source that sends of every class, and of which each is
// dropped later, has room for all of it, on several interfaces.
func TestOneLivelySource(t *testing.T) {
	r := newRig(t, Config{SourceWays: 1 << 18})
	ip := func(protocol byte, fragment uint16) frame {
		return ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", protocol, fragment)
	}
	frames := []frame{
		ip(6, 0).tcp(1, 80, flagSYN), ip(6, 0).tcp(1, 80, flagSYN|flagACK), ip(6, 0).tcp(1, 80, 0x04), ip(6, 0).tcp(1, 80, flagACK),
		ip(17, 0).udp(1, 53, 8), ip(1, 0).bytes(8), ip(17, 100).bytes(8), ip(47, 0).bytes(8),
	}
	const slots, rounds = 4, 40
	for s := Slot(1); s < slots; s++ {
		r.use(s, FilterEnforce)
	}
	for _, dropped := range []bool{false, true} {
		if dropped {
			r.put(Entry{Match: source("203.0.113.9/32"), Action: ActionDrop, Interfaces: 1<<slots - 1})
		}
		for range rounds {
			for s := range Slot(slots) {
				for _, f := range frames {
					r.run(s, f, 1)
				}
			}
		}
	}
	out, err := r.Drain()
	if err != nil {
		t.Fatal(err)
	}
	for i := range out.Windows {
		w := &out.Windows[i]
		checkSums(t, w)
		if w.Truncated || w.Sources.Len() != 1 || w.Totals.Packets != 2*rounds*uint64(len(frames)) || w.Totals.Dropped != w.Totals.Packets/2 {
			t.Errorf("slot %d: %v, truncated: %v, other %+v", w.Slot, w, w.Truncated, w.Other)
		}
	}
}
