package rates

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/internal/golden"
)

// example is a record with every field in use.
func example() Record {
	one := Counts{Packets: 1200, Bytes: 98_000, ByClass: [schemas.NumClasses]uint64{1000, 1, 2, 90, 100, 4, 1, 2}, UDPBytes: 12_000, Dropped: 900}
	ten := Counts{Packets: 5000, Bytes: 400_000, ByClass: [schemas.NumClasses]uint64{4000, 2, 4, 500, 480, 8, 2, 4}, UDPBytes: 60_000, Dropped: 1800}
	return Record{
		Host: "edge-1", Interface: "eth0", BootID: "b7c1f0", Seq: 42,
		Start: time.Date(2026, 1, 2, 3, 4, 4, 250_000_000, time.UTC), End: time.Date(2026, 1, 2, 3, 4, 5, 250_000_000, time.UTC),
		PPS: 1200, BPS: 784_000, DroppedPPS: 900, PPSEWMA: 410.5,
		Window1s: one, Window10s: ten, Covered: 7500 * time.Millisecond, NonIP1s: 3, Malformed1s: 1,
		Sources1s: 31, Sources10s: 250, SYNSources1s: 20, SYNSources10s: 180, SYNACKSources1s: 1, SYNACKSources10s: 2,
		Complete: true, Truncated: true, LostWindows: 2, Duplicates: 1, Stale: true,
		Top: []Source{
			{Source: netip.MustParseAddr("203.0.113.7"), PPS: 1000, BPS: 480_000, PortPairs: 60,
				Window1s:  Counts{Packets: 1000, Bytes: 60_000, ByClass: [schemas.NumClasses]uint64{1000}, Dropped: 900},
				Window10s: Counts{Packets: 4000, Bytes: 240_000, ByClass: [schemas.NumClasses]uint64{4000}, Dropped: 1800}},
			{Source: netip.MustParseAddr("2001:db8:1::"), PPS: 100, BPS: 96_000,
				Window1s:  Counts{Packets: 100, Bytes: 12_000, ByClass: [schemas.NumClasses]uint64{schemas.ClassUDP: 100}, UDPBytes: 12_000},
				Window10s: Counts{Packets: 480, Bytes: 60_000, ByClass: [schemas.NumClasses]uint64{schemas.ClassUDP: 480}, UDPBytes: 60_000}},
		},
		Victims: []Target{{Destination: netip.MustParseAddr("192.0.2.80"), Class: schemas.ClassSYN, Protocol: 6, Port: 80,
			Packets1s: 1000, Packets10s: 4000, Bytes1s: 60_000, Dropped1s: 900, Sources1s: 20, Sources10s: 180}},
		Ports:             []Target{{Class: schemas.ClassUDP, Protocol: 17, Port: 53, Packets1s: 100, Packets10s: 480, Bytes1s: 12_000, Sources1s: 3, Sources10s: 3}},
		EvidencePartition: 3, EvidenceOffset: 1234,
	}
}

// quiet is an interface that received nothing.
func quiet() Record {
	return Record{
		Host: "edge-1", Interface: "eth1", BootID: "b7c1f0", Seq: 1,
		Start: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), End: time.Date(2026, 1, 2, 3, 4, 5, 250_000_000, time.UTC),
		Covered: 250 * time.Millisecond, Complete: true,
	}
}

func fault(err error) schemas.Fault {
	var re *schemas.RecordError
	if errors.As(err, &re) {
		return re.Fault
	}
	return ""
}

func TestGolden(t *testing.T) {
	for name, want := range map[string]Record{"full": example(), "quiet": quiet()} {
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

func TestListsAreNeverNull(t *testing.T) {
	value, err := Encode(quiet())
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(value, []byte("null")) {
		t.Errorf("%s has a null", value)
	}
}

func TestClassesAddUpToPPS(t *testing.T) {
	value, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	var w struct {
		PPS     float64            `json:"pps"`
		Classes map[string]float64 `json:"classes"`
	}
	if err := json.Unmarshal(value, &w); err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, v := range w.Classes {
		sum += v
	}
	if len(w.Classes) != schemas.NumClasses || math.Abs(sum-w.PPS) > 0.01 {
		t.Errorf("%d classes add up to %v, pps is %v", len(w.Classes), sum, w.PPS)
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Record){
		"host":     func(r *Record) { r.Host = "" },
		"boot id":  func(r *Record) { r.BootID = "" },
		"NaN":      func(r *Record) { r.PPS = math.NaN() },
		"infinity": func(r *Record) { r.PPSEWMA = math.Inf(1) },
		"negative": func(r *Record) { r.Top[0].BPS = -1 },
		"address":  func(r *Record) { r.Top[0].Source = netip.Addr{} },
	} {
		r := example()
		spoil(&r)
		if _, err := Encode(r); fault(err) != schemas.FaultField {
			t.Errorf("%s: got %v, want a field error", name, err)
		}
	}
	r := example()
	r.Top = make([]Source, MaxTop+1)
	if _, err := Encode(r); fault(err) != schemas.FaultTooLarge {
		t.Errorf("too many sources: got %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, value string
		fault       schemas.Fault
		text        string
	}{
		{"empty", "", schemas.FaultSyntax, "not a JSON object"},
		{"text", "hello", schemas.FaultSyntax, "not a JSON object"},
		{"array", "[1]", schemas.FaultSyntax, "not a JSON object"},
		{"cut short", string(good[:100]), schemas.FaultSyntax, "unexpected end"},
		{"no v", "{}", schemas.FaultVersion, "has no v"},
		{"v2", `{"v":2}`, schemas.FaultVersion, "v=2, want 1"},
		{"2 MiB", strings.Repeat(" ", 2<<20), schemas.FaultTooLarge, "2097152 bytes"},
		{"wrong type", `{"v":1,"pps":"many"}`, schemas.FaultSyntax, "string"},
		{"no host", `{"v":1}`, schemas.FaultField, "host"},
		{"negative", strings.Replace(string(good), `"pps":1200`, `"pps":-1`, 1), schemas.FaultField, "rate is -1"},
		{"covers a year", strings.Replace(string(good), `"covered_seconds":7.5`, `"covered_seconds":1e9`, 1), schemas.FaultField, "covered_seconds"},
		{"source", strings.Replace(string(good), `"source":"203.0.113.7"`, `"source":"fe80::1%eth0"`, 1), schemas.FaultField, "fe80::1"},
		{"top", fmt.Sprintf(`{"v":1,"host":"h","interface":"i","boot_id":"b","top":[%s{"source":"1.2.3.4"}]}`, strings.Repeat(`{"source":"1.2.3.4"},`, MaxTop)), schemas.FaultTooLarge, "257 sources"},
	} {
		_, err := Decode([]byte(c.value))
		if fault(err) != c.fault || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %s with %q", c.name, err, c.fault, c.text)
		}
	}
}

func TestDecodeTakesLaterMinorVersions(t *testing.T) {
	good, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	later := strings.Replace(string(good), `"v":1,`, `"v":1,"colour":"blue",`, 1)
	later = strings.Replace(later, `"class":"syn"`, `"class":"quic"`, 1)
	r, err := Decode([]byte(later))
	if err != nil {
		t.Fatal(err)
	}
	if r.Victims[0].Class != schemas.ClassOther {
		t.Errorf("an unknown class reads as %v, want other", r.Victims[0].Class)
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range []Record{example(), quiet()} {
		value, err := Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := Decode(value)
		if err != nil {
			if fault(err) == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		again, err := Encode(r)
		if fault(err) == schemas.FaultSyntax {
			return // a year beyond 9999 reads but cannot be written
		}
		if err != nil {
			t.Fatalf("decoded but not encodable: %v", err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatal(err)
		}
	})
}
