package status

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/internal/golden"
)

// example is a record with every field in use.
func example() Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return Record{
		V: 1, Host: "edge-1", Interface: "eth0", Ifindex: 2, Direction: "ingress", BootID: "b7c1f0", At: at,
		Mode: "enforce", XDPMode: "generic", XDPReason: "native refused by driver veth: peer has no NAPI",
		Components: map[string]Component{ComponentFilter: {AppliedOffset: 17, Ready: true, Error: "none"}},
		Filter: Filter{
			Leases: 3, Suspended: 1, Capacity: 1_000_000, Rejected: 2,
			Drops:    []LeaseDrops{{Key: "*|203.0.113.7/32|alice", Offset: 12, Packets: 900, Bytes: 54_000, Would: 1, LastAt: at}},
			Verdicts: map[string]uint64{"pass": 1000, "drop_source": 900},
		},
		Seq: 42, Buffered: 1, ShedSources: 5, BrokerReachable: true, SkewMillis: -3, MemoryBytes: 64 << 20,
		Version: "0.1.0", Stopped: true,
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
	starting := Record{V: 1, Host: "edge-1", Interface: "eth1", BootID: "b7c1f0", At: example().At, Mode: "observe", XDPMode: "native",
		Components: map[string]Component{ComponentFilter: {AppliedOffset: -1}}, Filter: Filter{Verdicts: map[string]uint64{}}}
	for name, want := range map[string]Record{"full": example(), "starting": starting} {
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

func TestApplied(t *testing.T) {
	r := example()
	for _, c := range []struct {
		component string
		offset    int64
		want      bool
	}{{ComponentFilter, 16, true}, {ComponentFilter, 17, true}, {ComponentFilter, 18, false}, {"sessions", 0, false}} {
		if got := r.Applied(c.component, c.offset); got != c.want {
			t.Errorf("Applied(%q, %d) = %v", c.component, c.offset, got)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	drops := strings.Repeat(`{"key":"k"},`, MaxDrops) + `{"key":"k"}`
	for _, c := range []struct {
		value string
		fault schemas.Fault
		text  string
	}{
		{"", schemas.FaultSyntax, "not a JSON object"},
		{`{"host":"h"}`, schemas.FaultVersion, "has no v"},
		{`{"v":7}`, schemas.FaultVersion, "v=7"},
		{`{"v":1,"at":"yesterday"}`, schemas.FaultSyntax, "yesterday"},
		{`{"v":1,"host":"a b"}`, schemas.FaultField, "host"},
		{`{"v":1,"host":"h","interface":"i"}`, schemas.FaultField, "boot_id"},
		{fmt.Sprintf(`{"v":1,"host":"h","interface":"i","boot_id":"b","filter":{"drops":[%s]}}`, drops), schemas.FaultTooLarge, "1001 drops"},
		{strings.Repeat("[", MaxValueBytes+1), schemas.FaultTooLarge, "at most"},
	} {
		_, err := Decode([]byte(c.value))
		if fault(err) != c.fault || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%.60s: got %v, want %s with %q", c.value, err, c.fault, c.text)
		}
	}
	if _, err := Decode([]byte(`{"v":1,"host":"h","interface":"i","boot_id":"b","later":{}}`)); err != nil {
		t.Errorf("an unknown field: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	value, err := Encode(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Fuzz(func(t *testing.T, value []byte) {
		if _, err := Decode(value); err != nil && fault(err) == "" {
			t.Fatalf("untyped error %v", err)
		}
	})
}
