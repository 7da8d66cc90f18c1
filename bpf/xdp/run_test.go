package xdp

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// TestRuns: verdicts and targets are exact after every packet, however runs of packets
// that are noted and of such that are dropped at once begin and end among each other.
func TestRuns(t *testing.T) {
	r := newRig(t, Config{SourceWays: 64 * setWays}) // so few that some wait for their second set
	listed := netip.MustParseAddr("192.0.2.66")
	r.put(Entry{Match: Match{Source: netip.PrefixFrom(listed, 32)}, Action: ActionDrop})
	rng := rand.New(rand.NewPCG(1, 2))
	verdicts := map[string]uint64{}
	for window := range 4 {
		type aim struct {
			port  uint16
			class uint8
		}
		packets, bytes := map[aim]uint64{}, map[aim]uint64{}
		kind := 0
		for i := range 3000 {
			if rng.IntN(20) == 0 { // runs of 20 on average
				kind = rng.IntN(4)
			}
			var f frame
			to := aim{0, classTCPOther}
			reason := "pass"
			switch kind {
			case 0:
				f, to = synFrom("192.0.2.1"), aim{80, classSYN}
			case 1:
				f, to = ethernet(0x0800).ipv4("192.0.2.1", "198.51.100.1", 17, 0).udp(53, 1234, 99), aim{53, classUDP}
			case 2:
				f, to = synFrom("192.0.2.1"), aim{80, classSYN}
				reason = "drop_source"
			case 3:
				f = ethernet(0x86dd).ipv6("2001:db8::1", "2001:db8:1::1", 6).tcp(1, 2, 0x10)
			}
			switch {
			case reason == "drop_source":
				copy(f[26:30], listed.AsSlice())
			case kind < 2:
				binary.BigEndian.PutUint32(f[26:], 0x0a000000+rng.Uint32N(500))
			default:
				f[14+8+7] = byte(rng.IntN(4)) // of the upper half of the source
			}
			for range 1 + rng.IntN(2) { // a train, which may follow one of its own that waits
				r.run(0, f, 1)
				verdicts[reason]++
				packets[to]++
				bytes[to] += uint64(len(f))
			}
			got, err := r.Verdicts(0)
			if err != nil {
				t.Fatal(err)
			}
			if got["pass"] != verdicts["pass"] || got["drop_source"] != verdicts["drop_source"] {
				t.Fatalf("window %d, packet %d: verdicts %v, want %v", window, i, got, verdicts)
			}
		}
		w := r.drain()
		for _, x := range w.Targets {
			to := aim{x.Port, x.Class}
			if x.Packets != packets[to] || x.Bytes != bytes[to] || x.SourceBits == 0 {
				t.Errorf("window %d: %v got %d packets and %d bytes, want %d and %d", window, to, x.Packets, x.Bytes, packets[to], bytes[to])
			}
			delete(packets, to)
		}
		if len(packets) != 0 || w.NoTarget != 0 {
			t.Errorf("window %d: without a target are %v and %d packets", window, packets, w.NoTarget)
		}
		r.Commit()
	}
}

// TestVerdictsAreNeverAhead: who reads them while packets come, and go from the buffer to
// the run and on, sees none twice.
func TestVerdictsAreNeverAhead(t *testing.T) {
	r := newRig(t, Config{})
	var sent atomic.Uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		frames := []frame{synFrom("192.0.2.1"), ethernet(0x0800).ipv4("192.0.2.1", "198.51.100.1", 17, 0).udp(53, 1234, 0)}
		for start, i := time.Now(), uint32(0); time.Since(start) < time.Second; i++ {
			f := frames[i/100%2]
			binary.BigEndian.PutUint32(f[26:], 0x0a000000+i%1000) // none is joined with the one before
			sent.Add(1)
			if _, err := r.programs[0].Run(&ebpf.RunOptions{Data: f, Repeat: 1}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	last := uint64(0)
	for reads := 0; ; reads++ {
		v, err := r.Verdicts(0)
		if err != nil {
			t.Fatal(err)
		}
		if most := sent.Load(); v["pass"] > most || v["pass"] < last {
			t.Fatalf("read %d: %d packets have passed of %d; before, %d had", reads, v["pass"], most, last)
		}
		last = v["pass"]
		select {
		case <-done:
			if v, err = r.Verdicts(0); err != nil || v["pass"] != sent.Load() {
				t.Errorf("%d packets have passed in the end (%v), want %d", v["pass"], err, sent.Load())
			}
			return
		default:
		}
	}
}

// TestLongRuns: a run that can hold no more is counted, and goes on; and its source is the
// same one whether it was noted, counted in a run or both.
func TestLongRuns(t *testing.T) {
	for which, reason := range []string{"pass", "drop_source"} { // as in types.h
		t.Run(reason, func(t *testing.T) {
			onOneCPU(t)
			r := newRig(t, Config{})
			r.use(1, FilterEnforce) // hashes of sources on it are salted
			f := synFrom("192.0.2.66")
			if reason == "drop_source" {
				r.put(Entry{Match: source("192.0.2.66/32"), Action: ActionDrop, Interfaces: ^uint64(0)})
			}
			var want volume
			send := func(n int) {
				for i := range n { // of many flows, so that they are noted one by one
					binary.BigEndian.PutUint16(f[34:], uint16(1000+i%100))
					r.run(1, f, 1)
				}
				want.packets += uint64(n)
				want.bytes += uint64(n * len(f))
			}
			longer := 0
			for i := range 6 {
				send(150)
				for region := range r.batches {
					run := &r.batches[region].Runs[which]
					v := volumeOf(run.Volume)
					if v.packets == 0 {
						continue
					}
					if run.Volume&fullCounts != 0 {
						t.Fatalf("a run goes on with %+v", v)
					}
					more := volume{bytes: 1<<(byteBits-1) - 1 - v.bytes}
					if i%2 == 1 {
						more = volume{packets: 1<<(63-byteBits) - 1 - v.packets}
					}
					run.Volume += more.packets<<byteBits | more.bytes
					want.add(more)
					longer++
				}
			}
			send(50)
			if longer != 6 {
				t.Fatalf("%d runs were made longer, want 6", longer)
			}
			verdicts, err := r.Verdicts(1)
			if err != nil {
				t.Fatal(err)
			}
			w := r.drains()[1]
			if len(w.Targets) != 1 {
				t.Fatalf("%d targets: %+v", len(w.Targets), w.Targets)
			}
			to := w.Targets[0]
			if got := (volume{to.Packets, to.Bytes}); got != want || verdicts[reason] != want.packets {
				t.Errorf("target %+v and verdicts %v, want %+v", got, verdicts, want)
			}
			if n := bits.OnesCount64(to.SourceBits); n != 1 {
				t.Errorf("one source shows as %d bits", n)
			}
		})
	}
}
