package fleet

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/ring/internal/history"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

func tell(t *testing.T, f *Fleet, host, name string, at time.Time, change func(*rates.Record)) {
	t.Helper()
	r := full(3)
	r.Host, r.Interface, r.Stale = host, name, false
	if change != nil {
		change(&r)
	}
	if err := f.ApplyRates(r.Key(), encoded(t, r), at); err != nil {
		t.Fatal(err)
	}
}

func TestRatesAndStatusMakeTheTree(t *testing.T) {
	f := New(3)
	tell(t, f, "a", "eth0", start, nil)
	tell(t, f, "a", "eth1", start, nil)
	s := status.Record{Host: "b", Interface: "eth0", BootID: "b", Mode: "observe"}
	sv, err := status.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ApplyStatus("b/eth0", sv, start); err != nil {
		t.Fatal(err)
	}
	tell(t, f, "c", "eth0", start, nil) // beyond the limit
	if f.Len() != 3 || f.Refused() != 1 {
		t.Errorf("%d interfaces, %d refused", f.Len(), f.Refused())
	}
	if i := f.Lookup("b/eth0"); !i.Live(start) || i.Live(start.Add(schemas.StaleAfter)) {
		t.Error("live and not live")
	}
	if err := f.ApplyRates("x/eth0", encoded(t, full(1)), start); err == nil {
		t.Error("a key that is not the value's was taken")
	}
	for _, key := range []string{"a/eth0", "b/eth0"} {
		if err := f.ApplyRates(key, nil, start); err != nil {
			t.Fatal(err)
		}
	}
	if f.Len() != 1 || f.Lookup("a/eth1") == nil {
		t.Errorf("%d left", f.Len())
	}
	f.Expire(start.Add(schemas.DeleteAfter + time.Second))
	if f.Len() != 0 {
		t.Errorf("%d outlived their time", f.Len())
	}
}

func TestStatusTombstoneLeavesTheRates(t *testing.T) {
	f := New(3)
	tell(t, f, "a", "eth0", start, nil)
	sv, err := status.Encode(status.Record{Host: "a", Interface: "eth0", BootID: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.ApplyStatus("a/eth0", sv, start); err != nil {
		t.Fatal(err)
	}
	if err := f.ApplyStatus("a/eth0", nil, start); err != nil {
		t.Fatal(err)
	}
	if i := f.Lookup("a/eth0"); i == nil || i.Live(start) {
		t.Error("gone, or live")
	}
}

func TestHistoryAddsUp(t *testing.T) {
	f := New(10)
	for n := range 5 {
		at := start.Add(time.Duration(n) * time.Second)
		tell(t, f, "a", "eth0", at, func(r *rates.Record) { r.PPS = 10 })
		tell(t, f, "a", "eth1", at, func(r *rates.Record) { r.PPS = 5; r.Stale = n > 2 })
		tell(t, f, "b", "eth0", at, func(r *rates.Record) { r.PPS = 1 })
	}
	now := start.Add(4 * time.Second)
	fleet := f.History(now, func(*Interface) bool { return true }).V[history.PPS]
	host := f.History(now, func(i *Interface) bool { return i.Host == "a" }).V[history.PPS]
	if got := fleet[history.Slots-5:]; got[0] != 16 || got[4] != 11 {
		t.Errorf("fleet %v", got)
	}
	if got := host[history.Slots-5:]; got[0] != 15 || got[4] != 10 {
		t.Errorf("host %v", got)
	}
}

func TestSourceHistoryIsBounded(t *testing.T) {
	f := New(10)
	tell(t, f, "a", "eth0", start, func(r *rates.Record) { *r = full(100); r.Host = "a"; r.Stale = false })
	now := start
	for range 2 * SourceSlots {
		tell(t, f, "a", "eth0", now, func(r *rates.Record) { *r = full(100); r.Host = "a"; r.Stale = false })
		f.Sweep(now, 1)
		now = now.Add(SourceStep)
	}
	i := f.Lookup("a/eth0")
	if n := len(i.sources.byAddr); n != sourceLimit {
		t.Errorf("%d sources, want %d", n, sourceLimit)
	}
	// The heaviest are those with the most packets: the highest numbers.
	points := i.SourceHistory(netip.MustParseAddr("198.18.0.99"))
	if len(points) != SourceSlots || points[0].PPS != 36*990/10 {
		t.Errorf("%d points, the first %+v", len(points), points[0])
	}
	var sum float32
	for c := range schemas.NumClasses {
		sum += points[0].ClassPPS(c)
	}
	if d := sum - points[0].PPS; d < -0.01*sum || d > 0.01*sum {
		t.Errorf("the classes add up to %v of %v", sum, points[0].PPS)
	}
	if n := unsafe.Sizeof(points[0]); n > 24 {
		t.Errorf("a point takes %d bytes", n)
	}
	for range 100 { // gone for more than 15 minutes
		now = now.Add(SourceStep)
		f.Sweep(now, 1)
	}
	if n := len(i.sources.byAddr); n != 0 {
		t.Errorf("%d sources are remembered for ever", n)
	}
}

func TestBaselineIsTheMedian(t *testing.T) {
	f := New(10)
	for n := range 200 {
		at := start.Add(time.Duration(n) * time.Second)
		tell(t, f, "a", "eth0", at, func(r *rates.Record) {
			if r.PPS = 100; n >= 140 {
				r.PPS = 9000
			}
		})
		f.Sweep(at, 1)
		want := 100.0
		if n+1 < minBaseline {
			want = -1
		}
		if got := f.Lookup("a/eth0").baseline; got != want {
			t.Fatalf("after %d s the baseline is %v, want %v", n, got, want)
		}
	}
}

func TestSearch(t *testing.T) {
	f := New(10)
	for _, host := range []string{"edge-1", "edge-2"} {
		tell(t, f, host, "eth0", start, nil)
	}
	f.Lookup("edge-1/eth0").Detail() // somebody looks at one of them
	search(t, f)
	var written bytes.Buffer
	i := f.Lookup("edge-2/eth0")
	if err := json.Indent(&written, i.value, "", " "); err != nil {
		t.Fatal(err)
	}
	if err := f.ApplyRates("edge-2/eth0", written.Bytes(), start); err != nil {
		t.Fatal(err)
	}
	search(t, f)
	if n := len(f.Search("edge", 1)); n != 1 {
		t.Errorf("%d found, the limit was 1", n)
	}
}

// search holds what is found against what the fleet of TestSearch has.
func search(t *testing.T, f *Fleet) {
	t.Helper()
	for query, want := range map[string]string{
		"EDGE-1":                   "host edge-1  ,interface edge-1 eth0 ",
		"edge-2/eth0":              "interface edge-2 eth0 ",
		"198.18.0.1":               "source edge-1 eth0 198.18.0.1,source edge-2 eth0 198.18.0.1",
		"198.18.0.2/31":            "source edge-1 eth0 198.18.0.2,source edge-2 eth0 198.18.0.2",
		"::ffff:198.18.0.1":        "source edge-1 eth0 198.18.0.1,source edge-2 eth0 198.18.0.1",
		"198.18.0.":                "source edge-1 eth0 198.18.0.0,source edge-1 eth0 198.18.0.1,source edge-1 eth0 198.18.0.2,source edge-2 eth0 198.18.0.0,source edge-2 eth0 198.18.0.1,source edge-2 eth0 198.18.0.2",
		"203.0.113.1":              "",
		"":                         "",
		`<script>alert(1)<script>`: "",
	} {
		var got []string
		for _, x := range f.Search(query, 20) {
			got = append(got, strings.Join([]string{x.Kind, x.Host, x.Interface, x.Source}, " "))
		}
		if strings.Contains(want, "198.18.0.0") {
			if len(got) != 6 {
				t.Errorf("%q: %q", query, got)
			}
			continue
		}
		if strings.Join(got, ",") != want {
			t.Errorf("%q: got %q, want %q", query, strings.Join(got, ","), want)
		}
	}
}

func TestWholeNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.4: "0", 2.5: "3", -1: "-1", 1e14: "100000000000000", 1e300: "1000000000000000", math.Inf(1): "1000000000000000"} {
		if got := string(appendWhole(nil, v)); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	if got := string(appendWhole(nil, math.NaN())); got != "0" {
		t.Errorf("NaN: %s", got)
	}
}
