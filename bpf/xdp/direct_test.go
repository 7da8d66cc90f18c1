package xdp

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
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
	}
	l.Commit()
	clear(l.packets)
	l.checkLeases()
}

func (l *ledger) checkLeases() {
	l.t.Helper()
	n := 0
	l.Entries(func(e Entry, d Drops) bool {
		n++
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

// direct returns how many records are in use.
func (l *ledger) direct() (n int) {
	for half := range 2 {
		l.directRecords(half, func(r record) { n++ })
	}
	return n
}

// TestDirectCounts: drops of listed sources are counted at once, each once, whatever
// becomes of the leases meanwhile.
func TestDirectCounts(t *testing.T) {
	syn, udp := synFrom("198.18.0.0"), udpFrom("198.18.0.0")
	for _, c := range []struct {
		name string
		f    func(l *ledger)
	}{
		{"one class", func(l *ledger) {
			l.list(0, 20)
			for i := range 200 {
				l.send(i%20, syn, classSYN)
			}
			if got := l.direct(); got != 20 {
				l.t.Errorf("%d records, want 20", got)
			}
		}},
		{"two classes", func(l *ledger) {
			l.list(0, 20)
			for i := range 400 {
				l.send(i%20, syn, classSYN)
				l.send(i%20, udp, classUDP)
			}
		}},
		{"changing targets", func(l *ledger) {
			l.list(0, 3)
			for i := range 300 {
				f := ethernet(0x0800).ipv4("198.18.0.0", fmt.Sprintf("198.51.100.%d", i%7), 6, 0).tcp(1234, uint16(80+i%3), flagSYN)
				l.send(i%3, f, classSYN)
			}
		}},
		{"a lease in mid-window", func(l *ledger) {
			for i := range 100 {
				l.send(i%10, syn, classSYN)
			}
			l.list(0, 10)
			for i := range 100 {
				l.send(i%10, syn, classSYN)
			}
		}},
		{"the way of another", func(l *ledger) {
			l.list(0, 1)
			l.send(0, syn, classSYN)
			set, way := l.blocklist.find(words(listedSource(0))[0])
			l.unlist(0)
			for i := 1; ; i++ { // a source that gets its way
				l.list(i, i+1)
				if s, w := l.blocklist.find(words(listedSource(i))[0]); s == set && w == way {
					l.send(i, syn, classSYN)
					l.send(i, syn, classSYN)
					l.send(0, syn, classSYN)
					return
				}
				l.unlist(i)
			}
		}},
		{"the same source again", func(l *ledger) {
			l.list(0, 2)
			l.send(0, syn, classSYN)
			l.send(1, syn, classSYN)
			l.unlist(0)
			l.list(0, 1)
			l.send(0, syn, classSYN)
			l.send(1, syn, classSYN)
			l.put(Entry{Match: dropOf(listedSource(1)).Match, Action: ActionDrop, Interfaces: 3}) // another lease
			l.leases[listedSource(1)] = 0
			l.send(1, syn, classSYN)
		}},
		{"a full record", func(l *ledger) {
			const more = 1 << (byteBits - 1) // bytes
			l.list(0, 1)
			l.send(0, syn, classSYN)
			for region := range l.batches {
				for i := range l.directOf(region) {
					if r := &l.Datapath.direct.records[i]; r.word != 0 {
						r.counts += more
					}
				}
			}
			c := l.packets[listedSource(0)]
			c.Bytes += more
			l.packets[listedSource(0)] = c
			for range 50 {
				l.send(0, syn, classSYN)
			}
		}},
		{"expiry", func(l *ledger) {
			l.list(0, 2)
			e := dropOf(listedSource(0))
			e.ExpiresAt = BootTime() + 400*time.Millisecond
			l.put(e)
			l.send(0, syn, classSYN)
			l.send(1, syn, classSYN)
			if BootTime() > e.ExpiresAt {
				l.t.Skip("too slow a machine")
			}
			for BootTime() < e.ExpiresAt+2*jiffy {
				runtime.Gosched()
			}
			for a, n := range l.leases { // it is still there, and does nothing
				if a == listedSource(0) {
					delete(l.leases, a)
					l.send(0, syn, classSYN)
					l.leases[a] = n
				}
			}
			l.send(1, syn, classSYN)
		}},
		{"growing and shrinking", func(l *ledger) {
			l.list(0, 300)
			sizes := map[uint32]bool{}
			send := func() {
				sizes[l.blocklist.size] = true
				for i := range 100 {
					l.send(i, syn, classSYN)
				}
			}
			send()
			l.list(300, 2000)
			send()
			for i := 100; i < 2000; i++ {
				l.unlist(i)
			}
			send()
			if len(sizes) != 3 && len(sizes) != 2 {
				l.t.Errorf("the list had sizes %v only", sizes)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(t, Config{})
			for range 3 { // both halves, and one again
				c.f(l)
				l.check()
				for a := range l.leases {
					if n, err := l.Delete([]Match{dropOf(a).Match}); n != 1 || err != nil {
						t.Fatal(n, err)
					}
					delete(l.leases, a)
				}
			}
		})
	}
}

// TestDirectCountsSurvive: a process dies, and another takes over, at any place between
// the packets and the commit.
func TestDirectCountsSurvive(t *testing.T) {
	pins := fmt.Sprintf("/sys/fs/bpf/weir-direct-%d", os.Getpid())
	defer os.RemoveAll(pins)
	cfg := Config{PinPath: pins, SourceWays: 1 << 12, MaxLeases: 4096, BootID: "boot"}
	l := newLedger(t, cfg)
	syn := synFrom("198.18.0.0")
	reopen := func() {
		t.Helper()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		d, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		l.Datapath = d
		d.slots[0].Ifindex = 1000
	}
	send := func() {
		t.Helper()
		for i := range 90 {
			l.send(i%30, syn, classSYN)
		}
	}
	l.list(0, 30)
	for range 3 {
		send()
		reopen()
		send()
		l.checkLeases()
		reopen()
		l.checkLeases()
		l.drain()
		reopen()
		l.check()
	}
	// Dying in the middle of a commit leaves some records, and says so.
	send()
	l.drain()
	half := int(l.control.Epoch ^ 1)
	l.settleDirect()
	for region := half * l.cpus; region < (half+1)*l.cpus; region++ {
		for i := range l.directOf(region) {
			if i%3 != 0 {
				l.direct0(i)
			}
		}
	}
	reopen()
	l.drain()
	l.checkLeases()
	l.Commit()
	clear(l.packets)
	send()
	l.check()
	send()
	l.check()
}

// direct0 is as far as a process got that was clearing a record when it died.
func (l *ledger) direct0(i int) {
	l.Datapath.direct.records[i].word = 0
	if i%2 == 0 {
		l.Datapath.direct.records[i].counts = 0
	}
}

// TestDirectCountsOnEveryCPU counts drops on every CPU while windows end all the time,
// and leases come and go.
func TestDirectCountsOnEveryCPU(t *testing.T) {
	r := newRig(t, Config{})
	const n = 500
	for i := range n {
		r.put(dropOf(listedSource(i)))
	}
	var sent [2]uint64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for worker := range sent {
		wg.Go(func() {
			f := synFrom("198.18.0.0")
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				binary.BigEndian.PutUint16(f[28:], uint16(i%n))
				if verdict, err := r.programs[0].Run(&ebpf.RunOptions{Data: f, Repeat: 1}); err != nil || verdict != xdpDrop {
					t.Errorf("verdict %d, %v", verdict, err)
					return
				}
				sent[worker]++
			}
		})
	}
	var counted, dropped uint64
	commit := func() {
		w := r.drain()
		counted, dropped = counted+w.Totals.Packets, dropped+w.Totals.Dropped
		r.Commit()
	}
	for i := range 60 {
		commit()
		for j := range 50 { // others, so that ways change hands
			r.put(dropOf(listedSource(n + i*50 + j)))
		}
		for j := range 50 {
			if _, err := r.Delete([]Match{dropOf(listedSource(n + i*50 + j)).Match}); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	wg.Wait()
	commit()
	commit()
	want, leases := sent[0]+sent[1], uint64(0)
	r.Entries(func(_ Entry, d Drops) bool {
		leases += d.Packets
		return true
	})
	v, err := r.Verdicts(0)
	if err != nil || counted != want || dropped != want || leases != want || v["drop_source"] != want || want == 0 {
		t.Errorf("counted %d packets, %d dropped, %d for leases, verdicts %v, want %d; %v", counted, dropped, leases, v, want, err)
	}
}

// TestDirectPortPairs: the port pairs of a source are noted also while it is dropped.
func TestDirectPortPairs(t *testing.T) {
	for _, c := range []struct{ ports, least, most int }{{1, 1, 1}, {2, 1, 2}, {4000, 40, 64}} {
		l := newLedger(t, Config{})
		l.list(0, 1)
		for i := range 600 {
			// Each for several packets: one in a few is looked at.
			f := ethernet(0x0800).ipv4("198.18.0.0", "198.51.100.1", 17, 0).udp(uint16(1000+i/3%c.ports), 53, 8)
			l.send(0, f, classUDP)
		}
		w := l.drain()
		if n := bits.OnesCount64(w.Sources.At(0).PortPairs); n < c.least || n > c.most {
			t.Errorf("%d bits for %d ports", n, c.ports)
		}
		if got := l.direct(); got != 2 {
			t.Errorf("%d records, want one of packets and one of ports", got)
		}
	}
}
