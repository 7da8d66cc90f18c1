package counts

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/weir-net/weir/schemas"
)

// chunk is a full tail chunk of a SYN flood.
func chunk(n int) Record {
	r := tail()
	r.Sources = make([]Source, n)
	for i := range r.Sources {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0a000000+uint32(i)*2654435761%(1<<24))
		r.Sources[i] = Source{
			Address:   netip.AddrFrom4(b),
			Counters:  Counters{Packets: 3, Bytes: 180, ByClass: [schemas.NumClasses]uint64{3}},
			PortPairs: 1 << (i % 64),
		}
	}
	return r
}

func BenchmarkEncodeChunk(b *testing.B) {
	r := chunk(4096)
	var e Encoder
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = e.Append(buf[:0], &r); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(buf))/4096, "bytes/source")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/source")
}

func BenchmarkDecodeChunk(b *testing.B) {
	value, err := Encode(chunk(4096))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(value); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/source")
}
