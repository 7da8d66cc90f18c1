package attacks

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/internal/golden"
)

// example is a record with every field in use.
func example() Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 250_000_000, time.UTC)
	return Record{
		V: 1, Host: "edge-1", Interface: "eth0", Rule: "S2", Vector: "reflection from amplifiers",
		Destination: netip.MustParseAddr("192.0.2.80"), Start: at, End: at.Add(90 * time.Second), UpdatedAt: at.Add(2 * time.Minute),
		PeakPPS: 120_000.5, PeakBPS: 1.2e9, Sources: 240, Action: commands.Drop, Mode: "enforce",
		Dropped: 9_000_000, Bytes: 4_000_000_000, Would: 12, Leases: 2,
		Top: []Lease{{Key: "interface:edge-1/eth0|destination=192.0.2.80/32,protocol=udp,source_port=53|policy", Packets: 8_999_000, Bytes: 3_999_000_000, Would: 12}},
		Evidence: &commands.Evidence{Rule: "S2", Measured: 900, Threshold: 100, Window: "10s", Interface: "edge-1/eth0",
			BootID: "b7c1f0", Seq: 42, Partition: 3, Offset: 1234},
	}
}

// begun is an attack on which only the first decision is known.
func begun() Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return Record{V: 1, Host: "edge-1", Interface: "eth0", Rule: "R1", Vector: "SYN flood from one source", Start: at, UpdatedAt: at,
		Sources: 1, Action: commands.Drop, Leases: 1, Top: []Lease{}}
}

func TestGolden(t *testing.T) {
	for name, want := range map[string]Record{"full": example(), "begun": begun()} {
		t.Run(name, func(t *testing.T) {
			key, value, err := Encode(want)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, name, append(append(key, '\t'), value...))
			got, err := Decode([]byte(want.Key()), value)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestKeys(t *testing.T) {
	for _, r := range []Record{example(), begun()} {
		id, start, err := ParseKey(r.Key())
		if err != nil || id != r.Identity() || !start.Equal(r.Start) {
			t.Errorf("%s: %+v, %v, %v", r.Key(), id, start, err)
		}
	}
	if got, want := (func() string { r := example(); return r.Key() })(), "edge-1/eth0|S2@192.0.2.80|2026-01-02T03:04:05.250Z"; got != want {
		t.Errorf("key %q, want %q", got, want)
	}
	for _, bad := range []string{
		"", "edge-1/eth0", "edge-1/eth0|R1", "edge-1|R1|2026-01-02T03:04:05.250Z", "edge-1/eth0||2026-01-02T03:04:05.250Z",
		"edge-1/eth0|R1|2026-01-02T03:04:05Z", "edge-1/eth0|R1|yesterday", "edge-1/eth0|R1@here|2026-01-02T03:04:05.250Z",
		"edge-1/eth0|R1@2001:DB8::1|2026-01-02T03:04:05.250Z", "edge-1/eth0|R1|2026-01-02T03:04:05.250Z|more",
	} {
		var re *schemas.RecordError
		if _, _, err := ParseKey(bad); !errors.As(err, &re) || re.Fault != schemas.FaultKey {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		text   string
		change func(*Record)
	}{
		{"host", func(r *Record) { r.Host = "a b" }},
		{"interface", func(r *Record) { r.Interface = "" }},
		{"rule", func(r *Record) { r.Rule = "a|b" }},
		{"'@'", func(r *Record) { r.Rule = "a@b" }},
		{"destination", func(r *Record) { r.Destination = netip.MustParseAddr("fe80::1%eth0") }},
		{"start", func(r *Record) { r.Start = time.Time{} }},
		{"before start", func(r *Record) { r.End = r.Start.Add(-time.Second) }},
		{"peak", func(r *Record) { r.PeakPPS = math.Inf(1) }},
		{"peak", func(r *Record) { r.PeakBPS = -1 }},
		{"action", func(r *Record) { r.Action = commands.Allow }},
		{"leases", func(r *Record) { r.Leases = -1 }},
		{"top_leases", func(r *Record) { r.Top = make([]Lease, MaxTop+1) }},
		{"top_leases", func(r *Record) { r.Top = make([]Lease, 1) }},
	} {
		r := example()
		c.change(&r)
		var re *schemas.RecordError
		if _, _, err := Encode(r); !errors.As(err, &re) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("want %q, got %v", c.text, err)
		}
	}
	_, value, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		key, value string
		fault      schemas.Fault
	}{
		{"", string(value), schemas.FaultMismatch},
		{"edge-2/eth0|S2@192.0.2.80|2026-01-02T03:04:05.250Z", string(value), schemas.FaultMismatch},
		{"", "nonsense", schemas.FaultSyntax},
		{"", `{"v":2}`, schemas.FaultVersion},
		{"", `{"v":1}`, schemas.FaultField},
		{"", strings.Repeat("x", MaxValueBytes+1), schemas.FaultTooLarge},
	} {
		var re *schemas.RecordError
		if _, err := Decode([]byte(c.key), []byte(c.value)); !errors.As(err, &re) || re.Fault != c.fault {
			t.Errorf("%q %.40s: %v, want %s", c.key, c.value, err, c.fault)
		}
	}
	r := example()
	if _, err := Decode([]byte(r.Key()), bytes.Replace(value, []byte(`{`), []byte(`{"later":[1],`), 1)); err != nil {
		t.Errorf("a field of a later version: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range []Record{example(), begun()} {
		key, value, err := Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		r, err := Decode(key, value)
		var re *schemas.RecordError
		if err != nil {
			if !errors.As(err, &re) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if _, _, err := ParseKey(r.Key()); err != nil {
			t.Fatalf("a record whose key does not parse: %v", err)
		}
	})
}
