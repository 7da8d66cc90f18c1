package counts

import (
	"bytes"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts/internal/countspb"
)

func fault(err error) schemas.Fault {
	var re *schemas.RecordError
	if errors.As(err, &re) {
		return re.Fault
	}
	return ""
}

func TestEncodeRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Record){
		"host":       func(r *Record) { r.Host = "a/b" },
		"interface":  func(r *Record) { r.Interface = "" },
		"boot id":    func(r *Record) { r.BootID = "" },
		"direction":  func(r *Record) { r.Direction = "up" },
		"seq":        func(r *Record) { r.Seq = 0 },
		"duration":   func(r *Record) { r.Duration = 0 },
		"window":     func(r *Record) { r.WindowEnd = r.WindowStart.Add(-time.Second) },
		"zero time":  func(r *Record) { r.WindowStart = time.Time{} },
		"chunk":      func(r *Record) { r.Chunk = 2; r.Totals = nil },
		"no totals":  func(r *Record) { r.Totals = nil },
		"two totals": func(r *Record) { r.Chunk = 1 },
		"no address": func(r *Record) { r.Sources[0].Address = netip.Addr{} },
		"zone":       func(r *Record) { r.Sources[0].Address = netip.MustParseAddr("fe80::1%eth0") },
		"count":      func(r *Record) { r.Sources[0].Packets = MaxCount + 1 },
		"total":      func(r *Record) { r.Totals.ByClass[3] = MaxCount + 1 },
		"verdict":    func(r *Record) { r.Totals.Verdicts["pass"] = MaxCount + 1 },
	} {
		r := example()
		spoil(&r)
		if _, err := Encode(r); fault(err) != schemas.FaultField {
			t.Errorf("%s: got %v, want a field error", name, err)
		}
	}
	r := example()
	r.Sources = make([]Source, MaxSources+1)
	if _, err := Encode(r); fault(err) != schemas.FaultTooLarge {
		t.Errorf("too many sources: got %v", err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	// spoiled returns the example's message after a change.
	spoiled := func(change func(*countspb.Record)) []byte {
		var w countspb.Record
		if err := proto.Unmarshal(good, &w); err != nil {
			t.Fatal(err)
		}
		change(&w)
		b, err := proto.Marshal(&w)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		name  string
		value []byte
		fault schemas.Fault
		text  string // part of the reason
	}{
		{"empty", nil, schemas.FaultVersion, "v=0"},
		{"text", []byte("hello"), schemas.FaultSyntax, "not a counts record"},
		{"cut short", good[:len(good)-3], schemas.FaultSyntax, "not a counts record"},
		{"2 MiB", make([]byte, 2<<20), schemas.FaultTooLarge, "2097152 bytes"},
		{"v2", spoiled(func(w *countspb.Record) { w.V = 2 }), schemas.FaultVersion, "v=2, want 1"},
		{"half an address", spoiled(func(w *countspb.Record) { w.Sources.Ipv4 = w.Sources.Ipv4[:3] }), schemas.FaultField, "multiples of 4"},
		{"short column", spoiled(func(w *countspb.Record) { w.Sources.Packets = w.Sources.Packets[:1] }), schemas.FaultField, "1 values for 2 rows"},
		{"long column", spoiled(func(w *countspb.Record) { w.Sources.PortPairs = append(w.Sources.PortPairs, 1) }), schemas.FaultField, "3 values for 2 rows"},
		{"huge count", spoiled(func(w *countspb.Record) { w.Sources.Bytes[0] = 1 << 63 }), schemas.FaultField, "at most 2^53"},
		{"verdicts", spoiled(func(w *countspb.Record) { w.Totals.VerdictName = w.Totals.VerdictName[:1] }), schemas.FaultField, "verdict"},
		{"sketch", spoiled(func(w *countspb.Record) { w.Totals.SourcesSketch = make([]byte, MaxSketch+1) }), schemas.FaultTooLarge, "sketch"},
		{"victims", spoiled(func(w *countspb.Record) { w.Totals.Victims = &countspb.Targets{Packets: make([]uint64, MaxTargets+1)} }), schemas.FaultTooLarge, "victims"},
		{"destination", spoiled(func(w *countspb.Record) { w.Totals.Victims.Destination[0] = []byte{1, 2, 3} }), schemas.FaultField, "3 bytes"},
		{"protocol", spoiled(func(w *countspb.Record) { w.Totals.Victims.Protocol[0] = 256 }), schemas.FaultField, "protocol 256"},
		{"no totals", spoiled(func(w *countspb.Record) { w.Totals = nil }), schemas.FaultField, "chunk 0"},
	} {
		_, err := Decode(c.value)
		if fault(err) != c.fault || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %s with %q", c.name, err, c.fault, c.text)
		}
	}
}

func TestDecodeIgnoresUnknownFields(t *testing.T) {
	value, err := Encode(example())
	if err != nil {
		t.Fatal(err)
	}
	value = protowire.AppendTag(value, 1000, protowire.BytesType)
	value = protowire.AppendBytes(value, []byte("from a later minor version"))
	if _, err := Decode(value); err != nil {
		t.Error(err)
	}
}

// TestFutureClassesCountAsOther: the classes must add up to the packets for a
// reader that knows fewer of them.
func TestFutureClassesCountAsOther(t *testing.T) {
	w, err := countersFromWire(&countspb.Counters{Packets: 12, ByClass: []uint64{1, 0, 0, 0, 0, 0, 0, 2, 4, 5}})
	if err != nil {
		t.Fatal(err)
	}
	if w.ByClass[schemas.ClassOther] != 11 || w.ByClass[schemas.ClassSYN] != 1 {
		t.Errorf("by class %v", w.ByClass)
	}
}

// TestHostileInputIsBounded: no 1 MiB of protobuf may make the decoder allocate
// more than 64 MiB.
func TestHostileInputIsBounded(t *testing.T) {
	repeat := func(field protowire.Number, inner []byte) []byte {
		one := protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), inner)
		return bytes.Repeat(one, MaxValueBytes/len(one))
	}
	nest := func(field protowire.Number, inner []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(nil, field, protowire.BytesType), inner)
	}
	cut := func(b []byte) []byte { return b[:len(b)-16] }
	inputs := map[string][]byte{
		"empty totals over and over":     repeat(15, nil),
		"empty sources over and over":    repeat(16, nil),
		"empty verdict names":            nest(15, cut(repeat(6, nil))),
		"empty destinations":             nest(15, nest(14, cut(cut(repeat(1, nil))))),
		"one-byte varints in one column": nest(16, nest(3, make([]byte, MaxValueBytes-64))),
		"unknown fields":                 repeat(999, []byte("x")),
		"unknown groups":                 bytes.Repeat([]byte{0x9b, 0x06}, MaxValueBytes/2),
	}
	for name, value := range inputs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Decode(value)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
			t.Errorf("%s: allocated %d MiB", name, n>>20)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range []Record{example(), tail(), quiet()} {
		value, err := Encode(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(value)
	}
	f.Add([]byte("garbage"))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := Decode(value)
		if err != nil {
			if fault(err) == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		// What was accepted can be written again and then means the same.
		again, err := Encode(r)
		if err != nil {
			t.Fatalf("decoded but not encodable: %v", err)
		}
		r2, err := Decode(again)
		if err != nil {
			t.Fatal(err)
		}
		third, err := Encode(r2)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("encoding is not stable: %v", err)
		}
	})
}
