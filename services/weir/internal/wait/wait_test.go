package wait

import (
	"reflect"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/status"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// record is a status of host/eth0 that has applied offset.
func record(host string, offset int64, change ...func(*status.Record)) status.Record {
	r := status.Record{Host: host, Interface: "eth0", BootID: "b1", Mode: "enforce",
		Components: map[string]status.Component{status.ComponentFilter: {AppliedOffset: offset, Ready: true}}}
	for _, c := range change {
		c(&r)
	}
	return r
}

func newWait(target string) *Wait {
	t, err := schemas.ParseTarget(target)
	if err != nil {
		panic(err)
	}
	return &Wait{Component: status.ComponentFilter, Offset: 10, At: t0, Target: t}
}

func after(ms int) time.Time { return t0.Add(time.Duration(ms) * time.Millisecond) }

func TestAllApply(t *testing.T) {
	w := newWait("*")
	if r := w.Result(t0); r.Done() || r.Live() != 0 {
		t.Errorf("without a status: %+v", r)
	}
	w.Observe(record("a", 9), after(-1000))
	w.Observe(record("b", 9), after(-900))
	if r := w.Result(t0); r.Done() || !reflect.DeepEqual(r.Pending, []string{"a/eth0", "b/eth0"}) {
		t.Errorf("before: %+v", r)
	}
	w.Observe(record("b", 10), after(30))
	if r := w.Result(after(30)); r.Done() || !reflect.DeepEqual(r.Pending, []string{"a/eth0"}) {
		t.Errorf("one of two: %+v", r)
	}
	w.Observe(record("a", 12), after(80))
	w.Observe(record("b", 12), after(500)) // later records do not make it slower
	r := w.Result(after(500))
	if !r.Done() || r.Took != 80*time.Millisecond || len(r.Applied) != 2 {
		t.Errorf("both: %+v", r)
	}
}

func TestWhoCounts(t *testing.T) {
	w := newWait("host:a")
	w.Observe(record("a", 10), after(5))
	w.Observe(record("b", 0), after(5)) // another target
	if r := w.Result(after(10)); !r.Done() || r.Live() != 1 {
		t.Errorf("host:a: %+v", r)
	}
	w = newWait("*")
	w.Observe(record("a", 10), after(5))
	w.Observe(record("silent", 0), t0.Add(-schemas.StaleAfter))
	w.Observe(record("gone", 0, func(r *status.Record) { r.Stopped = true }), after(5))
	w.Observe(record("deleted", 0), after(5))
	w.Forget("deleted/eth0")
	if r := w.Result(after(10)); !r.Done() || r.Live() != 1 {
		t.Errorf("silent, stopped and deleted interfaces count: %+v", r)
	}
	// One that falls silent while it is waited for stays pending until it is stale.
	w.Observe(record("slow", 0), after(5))
	if r := w.Result(after(5000)); r.Done() {
		t.Errorf("slow: %+v", r)
	}
}

func TestRestartHasToCatchUp(t *testing.T) {
	w := newWait("*")
	w.Observe(record("a", 10), after(5))
	w.Observe(record("a", -1, func(r *status.Record) { r.BootID = "b2" }), after(10))
	if r := w.Result(after(10)); r.Done() {
		t.Errorf("a restarted probe counts as applied: %+v", r)
	}
}

func TestModesAndSuspects(t *testing.T) {
	w := newWait("*")
	rejected := func(n uint64) func(*status.Record) { return func(r *status.Record) { r.Filter.Rejected = n } }
	suspended := func(n int) func(*status.Record) { return func(r *status.Record) { r.Filter.Suspended = n } }
	mode := func(m string) func(*status.Record) { return func(r *status.Record) { r.Mode = m } }
	w.Observe(record("refuses", 9, rejected(3)), after(-10))
	w.Observe(record("refuses", 10, rejected(4)), after(10))
	w.Observe(record("suspends", 9), after(-10))
	w.Observe(record("suspends", 10, suspended(1)), after(10))
	w.Observe(record("clean", 9, rejected(3)), after(-10))
	w.Observe(record("clean", 10, rejected(3)), after(10))
	w.Observe(record("clean", 11, rejected(9)), after(20)) // that was another command
	w.Observe(record("watches", 10, mode("observe")), after(10))
	w.Observe(record("killed", 10, mode("off")), after(10))
	r := w.Result(after(30))
	if want := []string{"refuses/eth0", "suspends/eth0"}; !reflect.DeepEqual(r.Suspects, want) {
		t.Errorf("suspects %v, want %v", r.Suspects, want)
	}
	if !reflect.DeepEqual(r.Observing, []string{"watches/eth0"}) || !reflect.DeepEqual(r.Off, []string{"killed/eth0"}) {
		t.Errorf("observing %v, off %v", r.Observing, r.Off)
	}
}
