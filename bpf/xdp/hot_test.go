package xdp

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"
)

// eachFamily runs a test with frames of both families from source i.
func eachFamily(t *testing.T, test func(t *testing.T, family int, from func(i uint32) frame)) {
	t.Run("IPv4", func(t *testing.T) {
		f := synFrom("203.0.113.1")
		test(t, 0, func(i uint32) frame { binary.BigEndian.PutUint32(f[26:], 0x0a000000+i); return f })
	})
	t.Run("IPv6", func(t *testing.T) {
		f := ethernet(0x86dd).ipv6("2001:db8::9", "2001:db8::1", 6).tcp(1234, 80, flagSYN)
		test(t, 1, func(i uint32) frame { binary.BigEndian.PutUint32(f[26:], i); return f })
	})
}

// once sends a packet from each of n sources, and holds the window against that. One in
// a thousand may have found both its sets full.
func (r *rig) once(n uint32, from func(uint32) frame) {
	r.t.Helper()
	for i := range n {
		r.run(0, from(i), 1)
	}
	w := r.drain()
	if other := int(w.Other.Packets); w.Totals.Packets != uint64(n) || other > int(n)/1000 || w.Sources.Len() != int(n)-other {
		r.t.Fatalf("%d packets, %d of them without a source, from %d sources, want %d from as many", w.Totals.Packets, w.Other.Packets, w.Sources.Len(), n)
	}
	for _, s := range w.Sources.All() {
		if s.Packets != 1 {
			r.t.Fatalf("%v sent %d packets", s.Address, s.Packets)
		}
	}
}

// hots returns how many sets are hot in both halves of a table.
func (r *rig) hots(family int) [2]int {
	t := &r.tables[family]
	return [2]int{r.hot(t, 0), r.hot(t, 1)}
}

// TestHotSetsFollowTheSources: as many sets become hot as a flood needs, in both halves,
// and few again when it is over; before, meanwhile and after each source is counted by
// name.
func TestHotSetsFollowTheSources(t *testing.T) {
	eachFamily(t, func(t *testing.T, family int, from func(uint32) frame) {
		onOneCPU(t)
		r := newRig(t, Config{SourceWays: 1 << 19})
		if got := r.hots(family); got != [2]int{hotStart, hotStart} {
			t.Errorf("at first %v sets are hot, want %d", got, hotStart)
		}
		for range hotMemory + 1 {
			r.once(100, from)
			r.Commit()
		}
		if got := r.hots(family); got != [2]int{hotLeast, hotLeast} {
			t.Errorf("for 100 sources %v sets are hot, want %d", got, hotLeast)
		}
		const most = 20_000 // ten times as many as there is room for in the hot sets
		for range 2 {
			r.once(most, from)
			r.Commit()
		}
		want := 1 << 14 // the least power of two from 12,500
		if got := r.hots(family); got != [2]int{want, want} {
			t.Errorf("for %d sources %v sets are hot, want %d", most, got, want)
		}
		r.once(most, from)
		r.Commit()
		for range hotMemory + 1 {
			r.once(100, from)
			r.Commit()
		}
		if got := r.hots(family); got != [2]int{hotLeast, hotLeast} {
			t.Errorf("after the flood %v sets are hot, want %d", got, hotLeast)
		}
	})
}

// TestCarriedRecordsMove: sources that converse keep one record each when other sets
// become hot, where the program finds it.
func TestCarriedRecordsMove(t *testing.T) {
	onOneCPU(t)
	r := newRig(t, Config{SourceWays: 1 << 16}) // in fewer, one of the sources may find both its sets full of others
	ack := ethernet(0x0800).ipv4("203.0.113.1", "198.51.100.1", 6, 0).tcp(1234, 80, flagACK)
	ack6 := ethernet(0x86dd).ipv6("2001:db8::9", "2001:db8::1", 6).tcp(1234, 80, flagACK)
	const sources = 600
	converse := func() {
		for i := range uint32(sources) {
			binary.BigEndian.PutUint32(ack[26:], 0x0a000000+i)
			binary.BigEndian.PutUint32(ack6[26:], i)
			for port := range uint16(carryPackets) {
				for _, f := range []frame{ack[:34+20], ack6[:54+20]} {
					binary.BigEndian.PutUint16(f[len(f)-20:], 1000+port)
					r.run(0, f, 1)
				}
			}
		}
	}
	claimed := func(half, family int) (n int) {
		table := &r.tables[family]
		for region := half * r.cpus; region < (half+1)*r.cpus; region++ {
			words := table.wordsOf(region, 0, table.sets)
			for i := 0; i < len(words); i += recordWords {
				if words[i] != 0 {
					n++
				}
			}
		}
		return n
	}
	for _, hot := range []int{8192, 64, 128, 1024, 64, 8192} {
		for half := range 2 {
			converse()
			w := r.drain()
			if w.Sources.Len() != 2*sources || w.Other.Packets != 0 {
				t.Fatalf("hot %d: %d sources, want %d", hot, w.Sources.Len(), 2*sources)
			}
			for _, s := range w.Sources.All() {
				if s.Packets != carryPackets {
					t.Fatalf("hot %d: %v sent %d packets", hot, s.Address, s.Packets)
				}
			}
			for family := range r.tables {
				if n := r.scanner.tables[family].records; n > sources+sources/50 { // of few hot sets some were full
					t.Errorf("hot %d, table %d: %d sources have %d records", hot, family, sources, n)
				}
			}
			r.Commit()
			ended := int(r.control.Epoch ^ 1)
			for family := range r.tables {
				before := claimed(ended, family)
				r.move(&r.tables[family], ended, hot)
				if after := claimed(ended, family); after != before || before < sources*9/10 {
					t.Errorf("hot %d, half %d, table %d: %d records were carried over, %d moved", hot, half, family, before, after)
				}
			}
		}
	}
}

// TestDeathWhileSetsBecomeHot: a process dies after each step of moving to other hot
// sets; the next counts every source once.
func TestDeathWhileSetsBecomeHot(t *testing.T) {
	onOneCPU(t)
	for steps := range 5 {
		path := pinPath(t)
		r := newRig(t, Config{PinPath: path, SourceWays: 1 << 16, BootID: "boot-a"})
		table := &r.tables[0]
		from := func(i uint32) frame {
			f := ethernet(0x0800).ipv4("203.0.113.1", "198.51.100.1", 6, 0).tcp(1234, 80, flagACK)
			binary.BigEndian.PutUint32(f[26:], 0x0a000000+i)
			return f
		}
		send := func(r *rig) {
			for i := range uint32(1000) {
				for range carryPackets {
					r.run(0, from(i), 1)
				}
			}
		}
		send(r)
		r.drain()
		half := int(r.control.Epoch ^ 1)
		do := []func(){
			func() { r.clearSources(half) },
			func() { table.park(half, r.cpus) },
			func() { *r.batches[half*r.cpus].hotSets(table) = 128 },
			func() { r.move(table, half, 128) },
		}
		for _, step := range do[:steps] {
			step()
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		b := newRig(t, Config{PinPath: path, SourceWays: 1 << 16, BootID: "boot-b"})
		for window := range 4 {
			w := b.drain()
			if window == 0 && (w.BootID != "boot-a" || steps == 0 && w.Sources.Len() != 1000) {
				t.Errorf("after %d steps the window is %s's, with %d sources", steps, w.BootID, w.Sources.Len())
			}
			seen := map[netip.Addr]bool{}
			for _, s := range w.Sources.All() {
				if seen[s.Address] || window > 0 && s.Packets != carryPackets { // of the first a part may be committed
					t.Fatalf("after %d steps, window %d: %v is listed before: %v, with %d packets", steps, window, s.Address, seen[s.Address], s.Packets)
				}
				seen[s.Address] = true
			}
			if window > 0 && len(seen) != 1000 {
				t.Errorf("after %d steps, window %d has %d sources", steps, window, len(seen))
			}
			b.Commit()
			send(b)
		}
		if err := b.Remove(); err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(path)
	}
}
