package results

import (
	"bytes"
	"math"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 1234: "1,234", 2e6: "2,000,000", -1234567: "-1,234,567"} {
		if got := Number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestGoal(t *testing.T) {
	for _, c := range []struct {
		goal Goal
		want string
	}{
		{Goal{Value: 1.4, Limit: 1.4}, "met"},
		{Goal{Value: 1.5, Limit: 1.4}, "missed"},
		{Goal{Value: 0.95, Limit: 0.95, AtLeast: true}, "met"},
		{Goal{Value: 0.9, Limit: 0.95, AtLeast: true}, "missed"},
		{Goal{Value: 0, Limit: 1, Missing: true}, "not measured"},
	} {
		if got := c.goal.Verdict(); got != c.want || c.goal.Met() != (c.want == "met") {
			t.Errorf("%+v: %s, want %s", c.goal, got, c.want)
		}
	}
}

func TestReportKeepsWhatIsNotMeasuredAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	a := Experiment{ID: "a", Versus: "floor"}
	a.Add("floor", "1", 2, 1, 3)
	a.Skip("weir", "1", "not here")
	a.Add("share of nothing", "1", math.NaN(), 0, 0)
	a.Add("infinite", "1", 1, 0, math.Inf(1))
	b := Experiment{ID: "b"}
	b.Add("x", "y", 0, 0, 0)
	r := &Report{Experiments: []Experiment{a, b}}
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Fatalf("%+v, want %+v", got, r)
	}
	again := Experiment{ID: "a", Versus: "floor"}
	again.Add("weir", "1", 3, 2, 4)
	again.Add("floor", "1", 2, 1, 3)
	got.Replace(again)
	if len(got.Experiments) != 2 || got.Experiments[0].ID != "a" {
		t.Fatalf("%+v", got.Experiments)
	}
	if v, ok := got.Value("a", "weir", "1"); !ok || v != 3 {
		t.Errorf("the new number: %v %v", v, ok)
	}
	if v, ok := got.Value("b", "x", "y"); !ok || v != 0 {
		t.Errorf("the old experiment: %v %v", v, ok)
	}
	if _, ok := r.Value("a", "weir", "1"); ok {
		t.Error("a note was taken for a number")
	}
	var out bytes.Buffer
	got.Experiments[0].Print(&out)
	if !strings.Contains(out.String(), "3.00 (1.50×)") {
		t.Errorf("the ratio is missing in\n%s", out.String())
	}
}

func TestEmptyReport(t *testing.T) {
	r, err := Load(filepath.Join(t.TempDir(), "none.json"))
	if err != nil || len(r.Experiments) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
}
