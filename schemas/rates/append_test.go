package rates

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
)

// MarshalText and its like below let encoding/json write wire, which only the
// tests need.
func (c className) MarshalText() ([]byte, error) { return []byte(schemas.Class(c).String()), nil }

// MarshalText writes the name.
func (p protocol) MarshalText() ([]byte, error) {
	if p == 0 {
		return nil, nil
	}
	return []byte(schemas.FormatProtocol(uint8(p))), nil
}

// TestAppendedBytesAreThoseOfEncodingJSON reads what the appender wrote into the
// wire's types and lets encoding/json write it again.
func TestAppendedBytesAreThoseOfEncodingJSON(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	for i := range 2000 {
		r := random(rng)
		switch i {
		case 0:
			r = example()
		case 1:
			r = quiet()
		}
		got, err := Encode(r)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		var w wire
		if err := json.Unmarshal(got, &w); err != nil {
			t.Fatalf("%v:\n%s", err, got)
		}
		want, err := schemas.EncodeJSON("rates", w, MaxValueBytes)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Fatalf("appended:\n%s\nencoding/json:\n%s", got, want)
		}
	}
}

func random(rng *rand.Rand) Record {
	number := func() uint64 { return rng.Uint64() >> (rng.UintN(63) + 1) >> rng.UintN(8) * rng.Uint64N(2) }
	float := func() float64 {
		return []float64{0, 1, 0.1, 1e-7, 3.5e-9, 1.5e-10, 123456.789, math.Floor(rng.Float64() * 1e9), rng.Float64(), 1e20, 2.5e21, rng.ExpFloat64() * 1e-6}[rng.IntN(12)]
	}
	text := func() string {
		return []string{"a", "boot-1", "quote\"", "back\\slash", "<&>", "ä\u2028\x7f", "tab\t"}[rng.IntN(7)]
	}
	address := func() netip.Addr {
		b := [16]byte{0x20, 1, 0xd, 0xb8, byte(rng.Uint32()), 0, 0, byte(rng.Uint32())}
		if rng.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte(b[:4]))
		}
		return []netip.Addr{netip.AddrFrom16(b), netip.MustParseAddr("::ffff:192.0.2.1"), netip.MustParseAddr("::")}[rng.IntN(3)]
	}
	counts := func() Counts {
		c := Counts{Packets: number(), Bytes: number(), UDPBytes: number(), Dropped: number()}
		for i := range c.ByClass {
			c.ByClass[i] = number() * rng.Uint64N(2) * uint64(min(1, rng.IntN(4)))
		}
		return c
	}
	r := quiet()
	r.BootID, r.Seq = text(), number()
	r.Start = time.Unix(rng.Int64N(1<<33), rng.Int64N(1e9)*rng.Int64N(2)).In(time.FixedZone("x", 3600))
	r.End = r.Start.Add(time.Duration(rng.Int64N(1e9)))
	r.PPS, r.BPS, r.DroppedPPS, r.PPSEWMA = float(), float(), float(), float()
	r.Window1s, r.Window10s = counts(), counts()
	r.Covered = time.Duration(rng.Int64N(1e10))
	r.NonIP1s, r.Malformed1s, r.Sources1s, r.SYNACKSources10s = number(), number(), number(), number()
	r.Complete, r.Stale, r.EvidencePartition, r.EvidenceOffset = rng.IntN(2) == 0, rng.IntN(2) == 0, int32(rng.IntN(64))-1, rng.Int64()
	for range rng.IntN(4) {
		r.Top = append(r.Top, Source{Source: address(), PPS: float(), BPS: float(), PortPairs: uint32(rng.IntN(64)), Window1s: counts(), Window10s: counts()})
		x := Target{Class: schemas.Class(rng.IntN(schemas.NumClasses)), Protocol: uint8(rng.Uint32()) * uint8(rng.UintN(2)), Port: uint16(rng.Uint32()),
			Packets1s: number(), Packets10s: number(), Bytes1s: number(), Dropped1s: number(), Sources1s: number(), Sources10s: number()}
		r.Ports = append(r.Ports, x)
		x.Destination = address()
		r.Victims = append(r.Victims, x)
	}
	return r
}

func BenchmarkEncode(b *testing.B) {
	r := example()
	for len(r.Top) < 20 {
		r.Top = append(r.Top, r.Top[0])
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Encode(r); err != nil {
			b.Fatal(err)
		}
	}
}
