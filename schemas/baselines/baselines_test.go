package baselines

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/internal/golden"
)

// example is a record with every field in use.
func example() Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 250_000_000, time.UTC)
	return Record{
		V: 1, Host: "edge-1", Interface: "eth0", UpdatedAt: at, Quiet: 3600,
		Classes: map[string]Class{
			"syn": {Average: 12.5, Seconds: []uint16{0, 0, 0, 0, 0, 10, 20, 3000, 570}},
			"udp": {Average: 0, Seconds: []uint16{3600}},
		},
		Sources: &Sources{Since: at.Add(-10 * time.Minute), Current: bytes.Repeat([]byte{1}, FilterBytes), Before: bytes.Repeat([]byte{2}, FilterBytes)},
	}
}

// young is a record of an interface of which little is known.
func young() Record {
	return Record{V: 1, Host: "edge-1", Interface: "eth0", UpdatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Quiet: 1,
		Classes: map[string]Class{"icmp": {Average: 1, Seconds: []uint16{0, 1}}}}
}

func TestGolden(t *testing.T) {
	for name, want := range map[string]Record{"full": example(), "young": young()} {
		key, value, err := Encode(want)
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, name, append(append(key, '\t'), value...))
		got, err := Decode([]byte("edge-1/eth0"), value)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"no host":             func(r *Record) { r.Host = "" },
		"no interface":        func(r *Record) { r.Interface = "a/b" },
		"an unknown class":    func(r *Record) { r.Classes["quic"] = Class{} },
		"a negative average":  func(r *Record) { r.Classes["syn"] = Class{Average: -1} },
		"an endless average":  func(r *Record) { r.Classes["syn"] = Class{Average: math.Inf(1)} },
		"a bucket too many":   func(r *Record) { r.Classes["syn"] = Class{Seconds: make([]uint16, Buckets+1)} },
		"a filter cut short":  func(r *Record) { r.Sources.Current = r.Sources.Current[1:] },
		"a filter too long":   func(r *Record) { r.Sources.Before = make([]byte, 2*FilterBytes) },
		"more than a century": func(r *Record) { r.Quiet = math.MaxUint64 },
	} {
		r := example()
		change(&r)
		var re *schemas.RecordError
		if _, _, err := Encode(r); !errors.As(err, &re) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for value, want := range map[string]schemas.Fault{
		``:                   schemas.FaultSyntax,
		`{"v":2}`:            schemas.FaultVersion,
		`{"v":1,"host":"a"}`: schemas.FaultField,
		`{"v":1,"host":"a","interface":"b","classes":{"syn":{"seconds":[-1]}}}`:                                         schemas.FaultSyntax,
		`{"v":1,"host":"a","interface":"b","classes":{"syn":{"seconds":[` + strings.Repeat("0,", 42) + `0]}}}`:          schemas.FaultTooLarge,
		`{"v":1,"host":"a","interface":"b","sources":{"since":"2026-01-02T03:04:05Z","current":"AAAA"}}`:                schemas.FaultField,
		`{"v":1,"host":"edge-1","interface":"eth1","updated_at":"2026-01-02T03:04:05Z","quiet_seconds":1,"classes":{}}`: schemas.FaultMismatch,
	} {
		var re *schemas.RecordError
		if _, err := Decode([]byte("edge-1/eth0"), []byte(value)); !errors.As(err, &re) || re.Fault != want {
			t.Errorf("%.60s: %v", value, err)
		}
	}
}
