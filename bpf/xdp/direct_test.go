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
			for region := range l.batches { // since each has its record
				if n := l.batches[region].Filled; n != 0 {
					l.t.Errorf("%d packets were noted", n)
				}
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
			for range 50 {
				l.send(0, syn, classSYN)
				l.send(0, udp, classUDP)
			}
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
			for range 50 {
				l.send(0, syn, classSYN)
				l.send(1, syn, classSYN)
			}
			l.unlist(0)
			l.send(0, syn, classSYN)
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
			for range 2 * len(l.batches[0].Noted) {
				l.send(0, syn, classSYN)
				l.send(1, syn, classSYN)
			}
			l.eachListed(func(_ int, r *record4) { r.counts += more })
			c := l.packets[listedSource(0)]
			c.Bytes += more
			l.packets[listedSource(0)] = c
			for range 50 {
				l.send(0, syn, classSYN)
			}
		}},
		{"expiry", func(l *ledger) {
			e := dropOf(listedSource(0))
			e.ExpiresAt = BootTime() + 400*time.Millisecond
			l.put(e)
			l.leases[listedSource(0)] = 0
			l.list(1, 2)
			for range 50 {
				l.send(0, syn, classSYN)
				l.send(1, syn, classSYN)
			}
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
		{"exceptions", func(l *ledger) {
			l.list(0, 2)
			send := func() {
				for range 50 {
					l.send(0, syn, classSYN)
					l.send(1, syn, classSYN)
				}
			}
			spare := func(i int, how string, begin, end func() error) {
				n := l.leases[listedSource(i)]
				delete(l.leases, listedSource(i))
				if err := begin(); err != nil {
					l.t.Fatalf("%s: %v", how, err)
				}
				l.send(i, syn, classSYN)
				l.leases[listedSource(i)] = n
				if err := end(); err != nil {
					l.t.Fatalf("%s: %v", how, err)
				}
			}
			send()
			allow := Entry{Match: Match{Destination: netip.MustParsePrefix("198.51.100.0/24")}, Action: ActionAllow, Interfaces: ^uint64(0)}
			spare(0, "an allowed destination",
				func() error { return l.Put([]Entry{allow}) },
				func() error { _, err := l.Delete([]Match{allow.Match}); return err })
			send()
			signature := Entry{Match: Match{Destination: netip.MustParsePrefix("198.51.100.1/32"), Protocol: 6, DestinationPort: 80}, Action: ActionObserve, Interfaces: ^uint64(0)}
			l.put(signature)
			send()
			signature.Action = ActionAllow
			spare(1, "a signature that allows by now",
				func() error { return l.Put([]Entry{signature}) },
				func() error { _, err := l.Delete([]Match{signature.Match}); return err })
			send()
			spare(0, "a signature that allows from the start",
				func() error { return l.Put([]Entry{signature}) },
				func() error { _, err := l.Delete([]Match{signature.Match}); return err })
			send()
			spare(0, "observing", func() error { l.SetFilterMode(0, FilterObserve); return nil }, func() error { l.SetFilterMode(0, FilterEnforce); return nil })
			send()
			spare(1, "filter off", func() error { l.SetFilterMode(0, FilterOff); return nil }, func() error { l.SetFilterMode(0, FilterEnforce); return nil })
			send()
			suspended := dropOf(listedSource(1))
			suspended.Suspended = true
			spare(1, "a suspended lease",
				func() error { return l.Put([]Entry{suspended}) },
				func() error { return l.Put([]Entry{dropOf(listedSource(1))}) })
			send()
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

// TestDroppedForAnotherReason: who was dropped as a listed source, and after the end of that
// lease for something else, is counted as that.
func TestDroppedForAnotherReason(t *testing.T) {
	onOneCPU(t)
	r := newRig(t, Config{})
	const each = 100
	send := func() {
		f := synFrom("198.18.0.1")
		for port := range uint16(each) { // of many flows, so that the table and not the buffer counts
			binary.BigEndian.PutUint16(f[34:], 1000+port)
			r.run(0, f, 1)
		}
	}
	listed := dropOf(listedSource(1))
	listed.ExpiresAt = BootTime() + time.Second
	r.put(listed, Entry{Match: source("198.18.0.0/24"), Action: ActionDrop})
	send()
	if time.Sleep(listed.ExpiresAt - BootTime() + 2*jiffy); BootTime() < listed.ExpiresAt {
		t.Fatal("the lease has not ended")
	}
	send()
	v, err := r.Verdicts(0)
	if err != nil {
		t.Fatal(err)
	}
	if v["drop_source"] != each || v["drop_prefix"] != each {
		t.Errorf("verdicts %v, want %d drop_source and as many drop_prefix", v, each)
	}
	if w := r.drain(); w.Totals.Dropped != 2*each {
		t.Errorf("%d packets are counted as dropped, want %d", w.Totals.Dropped, 2*each)
	}
}

// TestListedWithoutRoom: what listed sources lose is counted for their leases too when
// there is no room for it in the table.
func TestListedWithoutRoom(t *testing.T) {
	l := newLedger(t, Config{SourceWays: 64})
	const n = 300
	l.list(0, n)
	syn := synFrom("198.18.0.0")
	for range 3 {
		for i := range 5 * n {
			l.send(i%n, syn, classSYN)
		}
		l.checkLeases()
		if w := l.drain(); w.Other.Dropped == 0 || w.Totals.Dropped != 5*n {
			t.Errorf("%d dropped, %d of them in other", w.Totals.Dropped, w.Other.Dropped)
		}
		l.Commit()
		l.checkLeases()
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
	for region := half * l.cpus; region < (half+1)*l.cpus; region++ {
		for word := range l.tables[0].dirtyWords() / 2 {
			l.settleWord(region, word)
		}
	}
	reopen()
	l.check()
	send()
	l.check()
}

// TestDropsOfAnInterfaceThatLeft: what a source lost there is not its next lease's, where
// the interface has gone meanwhile.
func TestDropsOfAnInterfaceThatLeft(t *testing.T) {
	pins := fmt.Sprintf("/sys/fs/bpf/weir-left-%d", os.Getpid())
	defer os.RemoveAll(pins)
	cfg := Config{PinPath: pins, SourceWays: 1 << 12, MaxLeases: 4096, BootID: "boot"}
	l := newLedger(t, cfg)
	l.list(0, 40)
	for i := range 120 { // more than wait in a buffer
		l.send(i%40, synFrom("198.18.0.0"), classSYN)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := Open(cfg) // there is no link to adopt
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	e := dropOf(listedSource(0))
	if got, ok := d.Drops(e.Match); !ok || got.Packets != 3 {
		t.Fatalf("%+v, %v: nobody lost anything", got, ok)
	}
	if n, err := d.Delete([]Match{e.Match}); n != 1 || err != nil {
		t.Fatalf("deleted %d: %v", n, err)
	}
	if err := d.Put([]Entry{e}); err != nil {
		t.Fatal(err)
	}
	if got, ok := d.Drops(e.Match); !ok || got.Packets != 0 {
		t.Errorf("the next lease begins with %+v", got)
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
		if got := l.direct(); c.ports > 1 && got != 1 { // packets of one flow are joined in the buffer
			t.Errorf("%d records, want one", got)
		}
	}
}

// TestDirectPairsAreOfUDP: a listed source of TCP takes one record, however much it sends.
func TestDirectPairsAreOfUDP(t *testing.T) {
	l := newLedger(t, Config{})
	l.list(0, 1)
	for i := range uint16(2000) {
		l.send(0, ethernet(0x0800).ipv4("198.18.0.0", "198.51.100.1", 6, 0).tcp(1000+i, 80, flagSYN), classSYN)
	}
	w := l.drain()
	if s := w.Sources.At(0); s.PortPairs != 0 || s.Dropped != 2000 {
		t.Errorf("%d packets were dropped, with port pairs %#x, want 2000 and none", s.Dropped, s.PortPairs)
	}
}
