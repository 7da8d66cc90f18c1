package paper

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-net/weir/loadtest/bench/results"
)

// sample is a report with a number, a ratio, quartiles and a missing number.
func sample() *results.Report {
	stages := results.Experiment{ID: "stages", Title: "Cost <by> sources", Unit: "net ns", Method: "How.", Commit: "abc1234", Versus: "floor"}
	stages.Add("floor", "1", 10, 9, 11)
	stages.Add("floor", "1M", 40, 38, 42)
	stages.Add("Weir & all", "1", 15, 14, 16)
	stages.Add("Weir & all", "1M", 50, 49, 51)
	tcp := results.Experiment{ID: "tcp", Title: "TCP", Unit: "Gbit/s", Method: "How.", Commit: "abc1234"}
	tcp.Add("none", "MTU 1500", 9, 8, 10)
	tcp.Skip("native", "MTU 1500", "the driver refused")
	exact := results.Experiment{ID: "exact", Title: "Accounting", Unit: "packets", Method: "How.", Commit: "0ldc0de"}
	exact.Add("unaccounted", "16M", 0, 0, 0)
	return &results.Report{
		Machine:     results.Machine{CPU: "some CPU", CPUs: 2, Commit: "abc1234"},
		Experiments: []results.Experiment{stages, tcp, exact},
		Goals: []results.Goal{
			{Number: 1, Text: "whole program / floor", Value: 1.25, Limit: 1.4},
			{Number: 2, Text: "bulk TCP", Value: 0.5, Limit: 0.95, AtLeast: true},
			{Number: 3, Text: "something else", Missing: true},
		},
	}
}

func TestPageHasEveryTableGoalAndPlot(t *testing.T) {
	dir := t.TempDir()
	if err := Write(sample(), "In short.", dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| 1 | whole program / floor | 1.25 | ≤ 1.40 | met |",
		"| 2 | bulk TCP | 0.50 | ≥ 0.95 | missed |",
		"| 3 | something else | – | ≤ 0.00 | not measured |",
		"In short.",
		"## 4 Cost <by> sources", "## 5 TCP", "## 6 Accounting", "## 7 Limits",
		"| Weir & all | 15.0 (1.50×) | 50.0 (1.25×) |", "| native | the driver refused |",
		"How. Measured earlier, at commit 0ldc0de.",
		"abc1234", "(stages.svg)", "(tcp.svg)",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if n := strings.Count(string(text), "Measured earlier"); n != 1 {
		t.Errorf("%d tables are said to be older, want 1", n)
	}
	if strings.Contains(string(text), "exact.svg") {
		t.Error("a table without a plot refers to one")
	}
	for name, labels := range map[string][]string{
		"stages.svg": {"Weir & all", "floor", "1M"}, "tcp.svg": {"none", "the driver refused", "9.00"},
	} {
		words := textOf(t, filepath.Join(dir, name))
		for _, l := range labels {
			if !strings.Contains(words, l) {
				t.Errorf("%s lacks %q", name, l)
			}
		}
	}
}

// textOf reads a plot as XML, which it must be, and returns its text.
func textOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var words strings.Builder
	for d := xml.NewDecoder(f); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words.String()
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if chars, ok := token.(xml.CharData); ok {
			words.Write(chars)
		}
	}
}
