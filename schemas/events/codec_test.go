package events

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/internal/golden"
)

// example is a record with every field in use.
func example() Record {
	return Record{
		V: 1, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Service: "probe", Host: "edge-1", Interface: "eth0",
		Kind: KindRejectedCommand, Severity: Warning, Reason: "source 0.0.0.0/0 is shorter than /16",
		Topic: "weir.commands.v1", Partition: 1, Offset: 17, Key: "*|0.0.0.0/0|alice",
		Rule: "R1", Measured: 1200, Threshold: 500,
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
	short := Record{V: 1, At: example().At, Service: "policy", Kind: KindBudget, Severity: Info, Reason: "budget is back"}
	decision := example()
	decision.Kind, decision.Step, decision.Action = KindDecision, StepIssue, "rate-limit"
	for name, want := range map[string]Record{"full": example(), "short": short, "decision": decision} {
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

func TestRecordKey(t *testing.T) {
	r := example()
	for _, want := range []string{"edge-1", "weir.commands.v1", "probe"} {
		if got := r.RecordKey(); got != want {
			t.Errorf("key %q, want %q", got, want)
		}
		if r.Host == "" {
			r.Topic = ""
		}
		r.Host = ""
	}
}

func TestEncodeTamesWhatOthersWrote(t *testing.T) {
	r := example()
	r.Key = "\x1b[31m" + strings.Repeat("ü", 300)
	r.Reason = strings.Repeat("x", 5000) + "\xff"
	value, err := Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(value)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got.Key, "?[31mü") || len(got.Key) > MaxKey {
		t.Errorf("key %q of %d bytes", got.Key, len(got.Key))
	}
	if len(got.Reason) != MaxReason {
		t.Errorf("reason of %d bytes, want %d", len(got.Reason), MaxReason)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		value string
		fault schemas.Fault
	}{
		{"", schemas.FaultSyntax},
		{"null", schemas.FaultSyntax},
		{`{"service":"x"}`, schemas.FaultVersion},
		{`{"v":2}`, schemas.FaultVersion},
		{`{"v":"1"}`, schemas.FaultSyntax},
		{`{"v":1,"service":"x","kind":"y","severity":"loud"}`, schemas.FaultField},
		{`{"v":1,"service":"x","severity":"info"}`, schemas.FaultField},
		{strings.Repeat(" ", MaxValueBytes+1), schemas.FaultTooLarge},
	} {
		if _, err := Decode([]byte(c.value)); fault(err) != c.fault {
			t.Errorf("%.60s: got %v, want %s", c.value, err, c.fault)
		}
	}
	// A kind of a later minor version is shown, not refused.
	if _, err := Decode([]byte(`{"v":1,"service":"x","kind":"new","severity":"info","more":1}`)); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	value, err := Encode(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := Decode(value)
		if err != nil {
			if fault(err) == "" {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if _, err := Encode(r); err != nil && fault(err) != schemas.FaultSyntax {
			t.Fatalf("decoded but not encodable: %v", err)
		}
	})
}
