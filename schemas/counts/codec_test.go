package counts

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/internal/golden"
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

// tail is a record with nothing but IPv4 sources that sent SYN: most columns
// are left out.
func tail() Record {
	r := example()
	r.Totals, r.Truncated, r.Chunk = nil, false, 1
	r.Sources = []Source{
		{Address: netip.MustParseAddr("198.51.100.1"), Counters: Counters{Packets: 1, Bytes: 60, ByClass: [schemas.NumClasses]uint64{1}}},
		{Address: netip.MustParseAddr("198.51.100.2"), Counters: Counters{Packets: 1, Bytes: 60, ByClass: [schemas.NumClasses]uint64{1}}},
	}
	return r
}

// quiet is a window without a packet.
func quiet() Record {
	r := example()
	r.Totals, r.Truncated, r.Chunks, r.Sources, r.Direction = &Totals{}, false, 1, nil, ""
	return r
}

func TestGolden(t *testing.T) {
	for name, want := range map[string]Record{"full": example(), "tail": tail(), "quiet": quiet()} {
		t.Run(name, func(t *testing.T) {
			value, err := Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, name, value)
			got, err := Decode(value)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

// TestEncoderReuse: nothing of a former record may leak into the next.
func TestEncoderReuse(t *testing.T) {
	var e Encoder
	for i, r := range []Record{example(), tail(), quiet(), tail(), example()} {
		got, err := e.Append([]byte("x"), &r)
		if err != nil {
			t.Fatal(err)
		}
		want, err := Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != "x"+string(want) {
			t.Errorf("record %d differs from what a fresh encoder writes", i)
		}
	}
}

func TestIPv4SourcesComeFirst(t *testing.T) {
	r := tail()
	six := Source{Address: netip.MustParseAddr("2001:db8::1"), Counters: Counters{Packets: 9, ByClass: [schemas.NumClasses]uint64{9}}}
	r.Sources = append([]Source{six}, r.Sources...)
	value, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(value)
	if err != nil {
		t.Fatal(err)
	}
	want := append(tail().Sources, six)
	if !reflect.DeepEqual(got.Sources, want) {
		t.Errorf("got %+v, want %+v", got.Sources, want)
	}
}

// TestMappedAddressesAreCounted: an IPv6 header may carry an IPv4-mapped
// address, and one such packet must not make a window unpublishable.
func TestMappedAddressesAreCounted(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:1.2.3.4")
	r := example()
	r.Sources[0].Address = mapped
	r.Totals.Victims[0].Destination = mapped
	value, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(value)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, s := range got.Sources {
		found = found || s.Address == mapped
	}
	if !found || got.Totals.Victims[0].Destination != mapped {
		t.Errorf("got sources %v and victim %v", got.Sources, got.Totals.Victims[0].Destination)
	}
}
