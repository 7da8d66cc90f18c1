package window

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/rates"
)

// TestEverythingThatDecodesCanBePublished: a record that passes the codec must
// give a value that the table's codec takes, however foolish its numbers are.
// Otherwise it would end the processor, and end it again whenever it is read.
func TestEverythingThatDecodesCanBePublished(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	durations := []time.Duration{1, time.Millisecond, tick, time.Hour, math.MaxInt64}
	numbers := []uint64{0, 1, 1000, counts.MaxCount}
	ends := []int64{1, epoch.UnixNano(), math.MaxInt64 - 1}
	boots := []string{"a", "b"}
	for round := range 40 {
		var s State
		seq := uint64(0)
		for range 60 {
			n := numbers[rng.IntN(len(numbers))]
			seq += 1 + uint64(rng.IntN(2))*rng.Uint64N(1<<20)
			r := window(boots[rng.IntN(20)/19], seq, 0, durations[rng.IntN(len(durations))], n)
			r.WindowEnd = time.Unix(0, ends[rng.IntN(len(ends))])
			r.WindowStart = time.Unix(0, rng.Int64N(r.WindowEnd.UnixNano()))
			r.Totals.UDPBytes, r.Totals.Dropped, r.Totals.NonIP, r.Totals.Malformed = n, n, n, n
			r.Totals.SourcesSketch = make([]byte, rng.IntN(2)*sketchSize)
			for i := range r.Totals.SourcesSketch {
				r.Totals.SourcesSketch[i] = byte(rng.Uint32())
			}
			for i := range rng.IntN(3) * 600 {
				address := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
				src := counts.Source{Address: address, Counters: r.Totals.Counters, PortPairs: rng.Uint64()}
				target := counts.Target{Destination: address, Class: schemas.Class(rng.IntN(256)), Port: uint16(i), Packets: n, Bytes: n, Dropped: n, SourceBits: rng.Uint64()}
				r.Sources = append(r.Sources, src)
				r.Totals.Victims = append(r.Totals.Victims, target)
				target.Destination = netip.Addr{}
				r.Totals.Ports = append(r.Totals.Ports, target)
			}
			if value, err := counts.Encode(*r); err == nil { // some are too large, or of a class that is none
				got, err := counts.Decode(value)
				if err != nil {
					t.Fatal(err)
				}
				r = &got
			}
			s.Apply(r)
			out := *s.Record()
			if _, err := rates.Encode(out); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if out.Covered < 0 || out.Covered > long || out.Window1s.Packets > counts.MaxCount*maxSamples {
				t.Fatalf("round %d: covers %v, %d packets", round, out.Covered, out.Window1s.Packets)
			}
			if c := &out.Window10s; out.Window1s.Packets > c.Packets+8*maxSamples {
				t.Fatalf("round %d: %d packets in 1 s, %d in 10 s", round, out.Window1s.Packets, c.Packets)
			}
		}
	}
}
