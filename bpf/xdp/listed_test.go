package xdp

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// TestManyLeases lets the prefilter grow several times, and shrink, under leases
// of every kind that it stands in front of.
func TestManyLeases(t *testing.T) {
	r := newRig(t, Config{MaxLeases: 1 << 14})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	address := func() netip.Addr {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], rng.Uint64())
		binary.BigEndian.PutUint64(b[8:], rng.Uint64())
		if rng.IntN(4) == 0 {
			b[0], b[1] = 0x20, 0x01
			return netip.AddrFrom16(b)
		}
		return netip.AddrFrom4([4]byte{1 + b[0]%220, b[1], b[2], b[3]})
	}
	drops := func(a netip.Addr) bool {
		if a.Is4() {
			return r.run(0, ethernet(0x0800).ipv4(a.String(), "198.51.100.1", 17, 0).udp(1000, 53, 8), 1) == xdpDrop
		}
		return r.run(0, ethernet(0x86dd).ipv6(a.String(), "2001:db8::1", 17).udp(1000, 53, 8), 1) == xdpDrop
	}
	sources := map[netip.Addr]Match{}
	for range 9000 {
		a := address()
		length := a.BitLen()
		switch rng.IntN(20) {
		case 0:
			length -= 1 + rng.IntN(13) // IPv4: from /31 to /19
		case 1:
			length = a.BitLen() / 2 // /16, /64
		}
		m := Match{Source: netip.PrefixFrom(a, length).Masked()}
		r.put(Entry{Match: m, Action: ActionDrop, Interfaces: ^uint64(0)})
		sources[a] = m
	}
	covered := func(a netip.Addr) bool {
		for _, m := range sources {
			if m.Source.Contains(a) {
				return true
			}
		}
		return false
	}
	check := func() {
		t.Helper()
		for a, m := range sources {
			if !drops(a) {
				t.Fatalf("%v passed a lease on %v", a, m.Source)
			}
		}
		for range 300 {
			if a := address(); drops(a) != covered(a) {
				t.Fatalf("%v: covered by a lease: %v", a, covered(a))
			}
		}
	}
	check()
	large := r.blocklist.bits
	var gone []Match
	for a, m := range sources {
		if len(sources) > 500 {
			gone = append(gone, m)
			delete(sources, a)
		}
	}
	for i := 0; i < len(gone); i++ { // leases that two sources share stay with the other
		for _, m := range sources {
			if m == gone[i] {
				gone[i] = gone[len(gone)-1]
				gone = gone[:len(gone)-1]
				i--
				break
			}
		}
	}
	if _, err := r.Delete(gone); err != nil {
		t.Fatal(err)
	}
	check()
	if r.blocklist.bits >= large {
		t.Errorf("a prefilter of 2^%d bits for %d leases, as for 9000", r.blocklist.bits, len(sources))
	}
}

// TestListedDropsAreCounted: what listed sources lose is counted for their leases in
// batches, and none is lost or counted twice on the way.
func TestListedDropsAreCounted(t *testing.T) {
	r := newRig(t, Config{})
	onOneCPU(t)
	lease := func(i int) Match {
		return Match{Source: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32)}
	}
	const n = 40
	want := map[Match]uint64{}
	for i := range n {
		r.put(Entry{Match: lease(i), Action: ActionDrop, Interfaces: ^uint64(0)})
	}
	for round := range 25 {
		for i := range n {
			m := lease(i)
			if f := synFrom(m.Source.Addr().String()); r.run(0, f, uint32(1+(i*round)%3)) != xdpDrop {
				t.Fatalf("%v passed", m.Source)
			}
			want[m] += uint64(1 + (i*round)%3)
			if got, _ := r.Drops(m); got.Packets != want[m] {
				t.Fatalf("round %d: lease %d counts %d packets, want %d", round, i, got.Packets, want[m])
			}
		}
		if round%4 == 0 {
			r.drain()
		}
		if round%8 == 0 {
			r.Commit()
		}
	}
	for range 2 { // a window may be pending
		r.drain()
		r.Commit()
	}
	r.Entries(func(e Entry, got Drops) bool {
		if got.Packets != want[e.Match] || got.Last == 0 {
			t.Errorf("%v: %+v, want %d packets", e.Match.Source, got, want[e.Match])
		}
		return true
	})
}

// TestListedLeaseBeginsAnew: what a listed source lost is not counted for the lease that
// comes after, be it of the same source or of another at its place, wherever it waits.
func TestListedLeaseBeginsAnew(t *testing.T) {
	onOneCPU(t)
	r := newRig(t, Config{})
	m := Match{Source: netip.MustParsePrefix("203.0.113.9/32")}
	tcp := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 6, 0).tcp(1000, 80, flagSYN)
	udp := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 17, 0).udp(1000, 53, 8)
	for _, again := range []func(){
		func() { r.put(Entry{Match: m, Action: ActionRateLimit, PPS: 1000, Interfaces: ^uint64(0)}) },
		func() { r.put(Entry{Match: m, Action: ActionDrop, Interfaces: 1}) },
		func() {
			if _, err := r.Delete([]Match{m}); err != nil {
				t.Fatal(err)
			}
			r.put(Entry{Match: m, Action: ActionDrop, Interfaces: ^uint64(0)})
		},
	} {
		for _, waiting := range []int{1, 40} { // in the buffer, and in part counted from there
			r.put(Entry{Match: m, Action: ActionDrop, Interfaces: ^uint64(0)})
			r.run(0, tcp, 1) // counted at once; so that other classes are not
			for i := range uint16(waiting) {
				binary.BigEndian.PutUint16(udp[34:], i)
				r.run(0, udp, 1)
			}
			if got, _ := r.Drops(m); got.Packets != uint64(1+waiting) {
				t.Fatalf("%d packets are counted, want %d", got.Packets, 1+waiting)
			}
			again()
			if got, _ := r.Drops(m); got.Packets != 0 || got.Bytes != 0 {
				t.Errorf("the lease begins with %d packets and %d bytes", got.Packets, got.Bytes)
			}
			r.drain()
			r.Commit()
			if got, _ := r.Drops(m); got.Packets != 0 || got.Bytes != 0 {
				t.Errorf("after the window it has %d packets and %d bytes", got.Packets, got.Bytes)
			}
			if _, err := r.Delete([]Match{m}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLeasesChangeUnderTraffic puts and deletes leases while packets pass: those of
// a lease that stays are dropped and those of none pass, every single one.
func TestLeasesChangeUnderTraffic(t *testing.T) {
	r := newRig(t, Config{MaxLeases: 1 << 13})
	stays := []Match{source("203.0.113.7/32"), source("192.0.2.0/27"), source("10.0.0.0/12"), source("2001:db8:7::/64")}
	for _, m := range stays {
		r.put(Entry{Match: m, Action: ActionDrop, Interfaces: ^uint64(0)})
	}
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
	defer stop()
	var senders sync.WaitGroup
	for _, s := range []struct {
		frame frame
		want  uint32
	}{
		{synFrom("203.0.113.7"), xdpDrop}, {synFrom("192.0.2.30"), xdpDrop}, {synFrom("10.15.1.2"), xdpDrop},
		{ethernet(0x86dd).ipv6("2001:db8:7::9", "2001:db8::1", 17).udp(1000, 53, 8), xdpDrop},
		{synFrom("203.0.113.8"), xdpPass}, {synFrom("192.0.2.32"), xdpPass}, {synFrom("10.16.0.1"), xdpPass},
	} {
		senders.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				got, err := r.programs[0].Run(&ebpf.RunOptions{Data: s.frame})
				if err != nil || got != s.want {
					t.Errorf("packet %d of %x: verdict %d, want %d; %v", n, s.frame[26:34], got, s.want, err)
					return
				}
			}
		})
	}
	changes := 0
	for ; ctx.Err() == nil; changes++ {
		var entries []Entry
		var matches []Match
		for i := range 4000 {
			a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
			m := Match{Source: netip.PrefixFrom(a, 32-i%100/97)}
			m.Source = m.Source.Masked()
			entries = append(entries, Entry{Match: m, Action: ActionDrop, Interfaces: ^uint64(0)})
			matches = append(matches, m)
		}
		r.put(entries...)
		if _, err := r.Delete(matches); err != nil {
			t.Fatal(err)
		}
	}
	senders.Wait()
	t.Logf("4000 leases came and went %d times", changes)
	if changes < 2 {
		t.Errorf("leases came and went %d times only", changes)
	}
}
