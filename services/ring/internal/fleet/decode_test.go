package fleet

import (
	"bytes"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
)

// full is a record with every field in use.
func full(sources int) rates.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	counts := func(n uint64) rates.Counts {
		return rates.Counts{Packets: 36 * n, Bytes: 99 * n, UDPBytes: n, Dropped: 2 * n, ByClass: [schemas.NumClasses]uint64{n, 2 * n, 3 * n, 4 * n, 5 * n, 6 * n, 7 * n, 8 * n}}
	}
	r := rates.Record{
		Host: "edge-1", Interface: "eth0", BootID: `b"],"top":[`, Seq: 42, Start: at, End: at.Add(time.Second), PPS: 1234.5, BPS: 9e6, DroppedPPS: 7.25, PPSEWMA: 1000,
		Window1s: counts(11), Window10s: counts(110), Covered: 10 * time.Second, NonIP1s: 3, Malformed1s: 4, Sources1s: 50, Sources10s: 60,
		SYNSources1s: 1, SYNSources10s: 2, SYNACKSources1s: 3, SYNACKSources10s: 4, Complete: true, Truncated: true, LostWindows: 5, Duplicates: 6, Stale: true,
		EvidencePartition: 3, EvidenceOffset: 99,
	}
	for n := range sources {
		r.Top = append(r.Top, rates.Source{Source: netip.AddrFrom4([4]byte{198, 18, 0, byte(n)}), PPS: float64(n), BPS: float64(480 * n), PortPairs: 3, Window1s: counts(uint64(n)), Window10s: counts(uint64(10 * n))})
	}
	for n := range 5 {
		r.Victims = append(r.Victims, rates.Target{Destination: netip.MustParseAddr("192.0.2.1"), Class: schemas.ClassUDP, Protocol: 17, Port: uint16(n), Packets1s: 5, Packets10s: 50, Bytes1s: 500, Sources1s: 2, Sources10s: 3})
		r.Ports = append(r.Ports, rates.Target{Class: schemas.ClassSYN, Protocol: 6, Port: uint16(443 + n), Packets1s: uint64(n), Packets10s: 50, Bytes1s: 500, Dropped1s: 1, Sources1s: 2, Sources10s: 3})
	}
	return r
}

func encoded(t testing.TB, r rates.Record) []byte {
	t.Helper()
	value, err := rates.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// headOf is what decodeHead must return for a value: what the contract's own
// decoder does, less what the head leaves out.
func headOf(t testing.TB, value []byte) Head {
	t.Helper()
	r, err := rates.Decode(value)
	if err != nil {
		t.Fatal(err)
	}
	return toHead(&r)
}

func TestDecodeHeadAgreesWithTheContract(t *testing.T) {
	for name, r := range map[string]rates.Record{
		"full": full(50), "no sources": full(0), "empty": {Host: "h", Interface: "i", BootID: "b"},
		"one source": full(1),
	} {
		value := encoded(t, r)
		got, err := decodeHead(value)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want := headOf(t, value); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
	}
}

// What the contract's own decoder would refuse shows that it was not asked.
func TestDecodeHeadReadsTheHeadAlone(t *testing.T) {
	r := full(1)
	r.BootID = "b7c1f0"
	value := bytes.Replace(encoded(t, r), []byte("198.18.0.0"), []byte("198.18.0.x"), 1)
	if _, err := rates.Decode(value); err == nil {
		t.Fatal("the source is not broken")
	}
	if _, err := decodeHead(value); err != nil {
		t.Errorf("the whole record was decoded: %v", err)
	}
}

// Other writers may order members as they like, and write other things between.
func TestDecodeHeadTakesAnyOrder(t *testing.T) {
	value := []byte(`{"later":{"top":[1,{"ports":[2]}],"s":"a\"],\"top\":[{"},"top":[{"source":"198.18.0.1","pps":1,"bps":2,"window_1s":{"packets":1,"bytes":1},"window_10s":{"packets":1,"bytes":1}}],` +
		`"ports":[{"class":"udp","protocol":"udp","port":53,"packets":9}],"interface":"i","host":"h","boot_id":"b","pps":7,"v":1}`)
	got, err := decodeHead(value)
	if err != nil {
		t.Fatal(err)
	}
	if want := headOf(t, value); !reflect.DeepEqual(got, want) || got.PPS != 7 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestDecodeHeadRefuses(t *testing.T) {
	good := string(encoded(t, full(3)))
	for _, value := range []string{"", "{", "null", "[]", `{"v":1}`, `{"v":2,"host":"h","interface":"i","boot_id":"b"}`, `{"v":1,"host":"a/b","interface":"i","boot_id":"b"}`,
		`{"v":1,"host":"h","interface":"i","boot_id":"b","pps":-1}`, good[:len(good)-1], good + "x"} {
		if h, err := decodeHead([]byte(value)); err == nil {
			t.Errorf("%.80s: was taken as %+v", value, h)
		}
	}
}

func FuzzDecodeHead(f *testing.F) {
	f.Add(encoded(f, full(3)))
	f.Add([]byte(`{"v":1,"host":"h","interface":"i","boot_id":"b","top":[],"ports":[{"class":"udp","packets":3}]}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		_, err := decodeHead(value) // must not panic
		r, wantErr := rates.Decode(value)
		if wantErr != nil {
			return // a Head may be had of a record whose sources are broken
		}
		if err != nil {
			t.Fatalf("the contract takes it, the head says %v", err)
		}
		canonical, err := rates.Encode(r)
		if err != nil {
			return
		}
		if h, err := decodeHead(canonical); err != nil || !reflect.DeepEqual(h, headOf(t, canonical)) {
			t.Fatalf("got %+v, %v, want %+v", h, err, headOf(t, canonical))
		}
	})
}

func BenchmarkDecodeHead(b *testing.B) {
	for _, n := range []int{50, 256} {
		r := full(n)
		r.BootID = "b7c1f0"
		value := encoded(b, r)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decodeHead(value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkDecodeFull(b *testing.B) {
	value := encoded(b, full(50))
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := rates.Decode(value); err != nil {
			b.Fatal(err)
		}
	}
}
