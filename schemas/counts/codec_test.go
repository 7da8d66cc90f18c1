package counts

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
)

// example is a record with every field in use.
func example() Record {
	c := Counters{Packets: 110, Bytes: 9000, ByClass: [schemas.NumClasses]uint64{50, 1, 2, 3, 40, 4, 5, 5}, UDPBytes: 4000, Dropped: 7}
	return Record{
		Host: "edge-1", Interface: "eth0", Ifindex: 2, Direction: "ingress", BootID: "b7c1f0", Seq: 42,
		WindowStart: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		WindowEnd:   time.Date(2026, 1, 2, 3, 4, 5, 250_000_000, time.UTC),
		Duration:    250 * time.Millisecond, Chunk: 0, Chunks: 2, IPv6SourcePrefixLength: 64, Truncated: true,
		Totals: &Totals{
			Counters: c, NonIP: 3, NonIPBytes: 180, Malformed: 1, MalformedBytes: 14,
			Verdicts: map[string]uint64{"pass": 1000, "drop_source": 7},
			Other:    Counters{Packets: 5, Bytes: 300, ByClass: [schemas.NumClasses]uint64{5}},
			Tail:     Counters{Packets: 2, Bytes: 120, ByClass: [schemas.NumClasses]uint64{2}}, TailSources: 2,
			SourcesSketch: []byte{1, 0, 3}, SYNSourcesSketch: []byte{1}, SYNACKSourcesSketch: []byte{2},
			Victims: []Target{
				{Destination: netip.MustParseAddr("2001:db8::80"), Class: schemas.ClassSYN, Protocol: 6, Port: 80, Packets: 50, Bytes: 3000, Dropped: 7, SourceBits: 0xff},
				{Destination: netip.MustParseAddr("192.0.2.80"), Class: schemas.ClassUDP, Protocol: 17, Port: 53, Packets: 40, Bytes: 4000, SourceBits: 1 << 63},
			},
			Ports: []Target{{Class: schemas.ClassUDP, Protocol: 17, Port: 53, Packets: 40, Bytes: 4000, SourceBits: 3}},
		},
		Sources: []Source{
			{Address: netip.MustParseAddr("203.0.113.7"), Counters: Counters{Packets: 60, Bytes: 4000, ByClass: [schemas.NumClasses]uint64{43, 1, 2, 3, 1, 4, 5, 1}, UDPBytes: 80, Dropped: 7}, PortPairs: 0xdeadbeef},
			{Address: netip.MustParseAddr("2001:db8:1::"), Counters: Counters{Packets: 43, Bytes: 4580, ByClass: [schemas.NumClasses]uint64{0, 0, 0, 0, 39, 0, 0, 4}, UDPBytes: 3920}},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	want := example()
	value, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(value)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}
