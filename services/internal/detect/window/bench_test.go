package window

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/rates"
)

// fleet is how many interfaces one core must keep up with, at windowsPerSecond
// each.
const (
	fleet            = 10_000
	windowsPerSecond = 4
)

// busy is a window of an interface with so many sources, each of them with some
// packets of three classes, and a few victims and ports.
func busy(seq uint64, sources int) *counts.Record {
	r := window("a", seq, time.Duration(seq)*tick, tick, 0)
	r.Totals.Counters = counts.Counters{}
	r.Totals.SourcesSketch = make([]byte, sketchSize)
	r.Sources = make([]counts.Source, sources)
	for i := range r.Sources {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0xc6330000+uint32(i))
		x := &r.Sources[i]
		x.Address = netip.AddrFrom4(b)
		n := uint64(10 + i%50)
		x.Packets, x.Bytes, x.UDPBytes = 3*n, 900*n, 300*n
		x.ByClass[schemas.ClassSYN], x.ByClass[schemas.ClassTCPOther], x.ByClass[schemas.ClassUDP] = n, n, n
		r.Totals.Counters.Add(x.Counters)
		r.Totals.SourcesSketch[i%sketchSize] = 3
	}
	for i := range 4 {
		t := counts.Target{Destination: netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), Class: schemas.ClassSYN, Protocol: 6, Port: 443, Packets: 9, Bytes: 540, SourceBits: 5}
		r.Totals.Victims = append(r.Totals.Victims, t)
		t.Destination = netip.Addr{}
		r.Totals.Ports = append(r.Totals.Ports, t)
	}
	return r
}

// processorTime is what this process has used, garbage collection included: on a
// busy machine it says more than the clock.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkFleet applies windows of many interfaces in turn, as an aggregator
// does: decoding the record, adding it up, encoding the table's. What it reports
// as cores is what a fleet of ten thousand would take of it.
func BenchmarkFleet(b *testing.B) {
	for _, sources := range []int{2, 20, 200} {
		for _, part := range []string{"apply", "decode+apply+encode"} {
			b.Run(fmt.Sprintf("sources=%d/%s", sources, part), func(b *testing.B) {
				const interfaces = 100
				states := make([]State, interfaces)
				for seq := uint64(1); seq <= 40; seq++ { // 10 s: every window is full
					for i := range states {
						states[i].Apply(busy(seq, sources))
					}
				}
				r := busy(1, sources)
				value, err := counts.Encode(*r)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				b.ResetTimer()
				start := processorTime(b)
				for n := range b.N {
					x := r
					if part != "apply" {
						d, err := counts.Decode(value)
						if err != nil {
							b.Fatal(err)
						}
						x = &d
					}
					x.Seq = uint64(41 + n/interfaces)
					x.WindowEnd = epoch.Add(time.Duration(x.Seq) * tick)
					x.WindowStart = x.WindowEnd.Add(-tick)
					s := &states[n%interfaces]
					if s.Apply(x) != Updated {
						b.Fatal("not a new window")
					}
					if part != "apply" {
						if _, err := rates.Encode(*s.Record()); err != nil {
							b.Fatal(err)
						}
					}
				}
				took := processorTime(b) - start
				b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "cpu-ns/op")
				b.ReportMetric(took.Seconds()/float64(b.N)*fleet*windowsPerSecond, "cores/fleet")
			})
		}
	}
}

// BenchmarkFlood applies windows of one interface that is flooded with SYN from
// sources that never come back, the most that are remembered of each window.
func BenchmarkFlood(b *testing.B) {
	var s State
	flood := func(seq uint64) *counts.Record {
		r := busy(seq, 20)
		for i := range uint32(5000) {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], uint32(seq)*5000+i)
			x := counts.Source{Address: netip.AddrFrom4(a), Counters: counts.Counters{Packets: 1, Bytes: 60}, PortPairs: 1}
			x.ByClass[schemas.ClassSYN] = 1
			r.Sources = append(r.Sources, x)
			r.Totals.Counters.Add(x.Counters)
		}
		for i := range r.Totals.SourcesSketch {
			r.Totals.SourcesSketch[i] = byte(1 + i%7)
		}
		r.Totals.SYNSourcesSketch = r.Totals.SourcesSketch
		return r
	}
	for seq := uint64(1); seq <= 40; seq++ {
		s.Apply(flood(seq))
	}
	records := make([]*counts.Record, 20)
	for i := range records {
		records[i] = flood(uint64(41 + i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	start := processorTime(b)
	for n := range b.N {
		r := records[n%len(records)]
		r.Seq = uint64(41 + n)
		r.WindowEnd = epoch.Add(time.Duration(r.Seq) * tick)
		r.WindowStart = r.WindowEnd.Add(-tick)
		if s.Apply(r) != Updated {
			b.Fatal("not a new window")
		}
	}
	took := processorTime(b) - start
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(took.Seconds()/float64(b.N)*windowsPerSecond*1000, "cores/1000-attacked")
}
