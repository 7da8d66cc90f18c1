package config

import (
	"strings"
	"testing"
	"time"
)

type sample struct {
	Name       string        `default:"x" desc:"a name"`
	MaxThings  int           `split_words:"true" default:"7" desc:"how many | at most"`
	Interval   time.Duration `default:"1s" desc:"how often"`
	HTTPServer string        `envconfig:"HTTP_SERVER" desc:"where"`
}

func TestLoadRefusesUnknownVariables(t *testing.T) {
	var s sample
	t.Setenv("WEIR_SAMPLE_MAX_THINGS", "9")
	if err := Load(Part{"WEIR_SAMPLE", &s}); err != nil || s.MaxThings != 9 || s.Interval != time.Second {
		t.Fatalf("%+v, %v", s, err)
	}
	t.Setenv("WEIR_SAMPLE_MAX_THINGZ", "9")
	if err := Load(Part{"WEIR_SAMPLE", &s}); err == nil || !strings.Contains(err.Error(), "WEIR_SAMPLE_MAX_THINGZ") {
		t.Errorf("a misspelt variable: %v", err)
	}
}

func TestVariablesAreThoseThatAreRead(t *testing.T) {
	var s sample
	var names []string
	for _, v := range Variables(Part{"WEIR_SAMPLE", &s}) {
		names = append(names, v.Name)
		value := "3"
		if v.Type == "duration" {
			value = "3s"
		}
		t.Setenv(v.Name, value)
	}
	if got := strings.Join(names, " "); got != "WEIR_SAMPLE_NAME WEIR_SAMPLE_MAX_THINGS WEIR_SAMPLE_INTERVAL WEIR_SAMPLE_HTTP_SERVER" {
		t.Errorf("variables %s", got)
	}
	if err := Load(Part{"WEIR_SAMPLE", &s}); err != nil {
		t.Fatal(err)
	}
	if s != (sample{"3", 3, 3 * time.Second, "3"}) {
		t.Errorf("a listed variable is not read: %+v", s)
	}
	var b strings.Builder
	Markdown(&b, Part{"WEIR_SAMPLE", &s})
	if !strings.Contains(b.String(), "| `WEIR_SAMPLE_MAX_THINGS` | number | `7` | how many \\| at most |") {
		t.Errorf("table:\n%s", b.String())
	}
}
