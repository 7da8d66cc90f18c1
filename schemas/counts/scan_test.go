package counts

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
)

// agree wants both readers to find the same in a value, if the fast one takes it.
func agree(t *testing.T, value []byte) bool {
	t.Helper()
	fast, ok := scan(value)
	if !ok {
		return false
	}
	slow, err := decodeAny(value)
	if err != nil {
		t.Fatalf("scanned, but protobuf says %v: %x\n%+v", err, value, fast)
	}
	if !reflect.DeepEqual(fast, slow) {
		t.Fatalf("scanned:\n%+v %+v\nprotobuf:\n%+v %+v", fast, fast.Totals, slow, slow.Totals)
	}
	return true
}

func TestScanTakesWhatProbesWrite(t *testing.T) {
	for i, r := range []Record{example(), tail(), quiet(), chunk(300)} {
		value, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if !agree(t, value) {
			t.Errorf("record %d is left to protobuf", i)
		}
	}
}

// TestScanReadsAsProtobuf holds both readers against each other, on records and on
// what a few changed bytes make of them.
func TestScanReadsAsProtobuf(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	mutants := 0
	for range 600 {
		r := random(rng)
		value, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if !agree(t, value) {
			t.Fatalf("left to protobuf: %+v", r)
		}
		for range 100 {
			m := slices.Clone(value)
			for range 1 + rng.IntN(3) {
				at := rng.IntN(len(m))
				switch rng.IntN(4) {
				case 0:
					m[at] ^= 1 << rng.UintN(8)
				case 1:
					m = slices.Insert(m, at, byte(rng.Uint32()))
				case 2:
					m = slices.Delete(m, at, at+1)
				default:
					m = slices.Insert(m, at, m[at:at+rng.IntN(len(m)-at)]...)
				}
				if len(m) == 0 {
					break
				}
			}
			if agree(t, m) {
				mutants++
			}
		}
	}
	if mutants < 2000 {
		t.Errorf("only %d changed records were scanned", mutants)
	}
}

func random(rng *rand.Rand) Record {
	number := func() uint64 { return rng.Uint64() >> (11 + rng.UintN(53)) * rng.Uint64N(2) }
	counters := func() (c Counters) {
		c.Packets, c.Bytes, c.UDPBytes, c.Dropped = number(), number(), number(), number()
		for i := range c.ByClass {
			c.ByClass[i] = number()
		}
		return c
	}
	address := func() netip.Addr {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], rng.Uint64())
		if rng.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte(b[:4]))
		}
		return netip.AddrFrom16(b)
	}
	sketch := func() []byte {
		b := make([]byte, 32*rng.IntN(2))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	targets := func(destinations bool) (all []Target) {
		for range rng.IntN(4) {
			x := Target{Class: schemas.Class(rng.IntN(schemas.NumClasses)), Protocol: uint8(rng.Uint32()), Port: uint16(rng.Uint32()),
				Packets: number(), Bytes: number(), Dropped: number(), SourceBits: rng.Uint64() * rng.Uint64N(2)}
			if destinations {
				x.Destination = address()
			}
			all = append(all, x)
		}
		return all
	}
	r := Record{Host: "host-1", Interface: "eth0", BootID: "b", Ifindex: rng.Uint32() * rng.Uint32N(2), Seq: 1 + rng.Uint64(), Chunk: rng.Uint32N(2), Chunks: 300,
		WindowStart: time.Unix(0, 1+rng.Int64N(1e18)).UTC(), Duration: time.Duration(1 + rng.Int64N(1e12)), IPv6SourcePrefixLength: uint8(rng.IntN(129)), Truncated: rng.IntN(2) == 0}
	r.WindowEnd = r.WindowStart.Add(r.Duration)
	for range rng.IntN(5) {
		r.Sources = append(r.Sources, Source{Address: address(), Counters: counters(), PortPairs: rng.Uint64() * rng.Uint64N(2)})
	}
	if r.Chunk > 0 {
		return r
	}
	r.Totals = &Totals{Counters: counters(), NonIP: number(), Malformed: number(), Other: counters(), Tail: counters(), TailSources: number(),
		SourcesSketch: sketch(), SYNSourcesSketch: sketch(), SYNACKSourcesSketch: sketch(), Victims: targets(true), Ports: targets(false)}
	for _, name := range []string{"pass", "drop_source", ""}[:rng.IntN(4)] {
		if r.Totals.Verdicts == nil {
			r.Totals.Verdicts = map[string]uint64{}
		}
		r.Totals.Verdicts[name] = number()
	}
	return r
}

func FuzzScan(f *testing.F) {
	for _, r := range []Record{example(), tail(), quiet()} {
		value, err := Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value []byte) { agree(t, value) })
}

// BenchmarkDecodeWindow reads the whole of a window of a quiet interface.
func BenchmarkDecodeWindow(b *testing.B) {
	r := example()
	r.Sources = chunk(10).Sources
	r.Totals.SourcesSketch, r.Totals.SYNSourcesSketch = make([]byte, 1<<10), make([]byte, 1<<10)
	value, err := Encode(r)
	if err != nil {
		b.Fatal(err)
	}
	for name, decode := range map[string]func([]byte) (Record, error){"scan": Decode, "protobuf": decodeAny} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
