package dataplane

import (
	"strings"
	"testing"

	"github.com/weir-net/weir/loadtest/bench/results"
)

// measured makes a report in which every number that a goal reads is there.
func measured(value func(experiment, row, column string) float64) *results.Report {
	r := &results.Report{Machine: results.Machine{CPUs: 2}}
	for id, cells := range map[string][][2]string{
		"stages":     cross([]string{rowWeir, rowFloor, rowStock}, []string{"1", "1k", "100k", "1M"}),
		"leases":     append(cross([]string{rowNoLease, row10k, row1M}, []string{columnPassing, column1MAll}), [2]string{row10k, column10kAll}, [2]string{rowNoLease, column10kAll}),
		"flood":      cross([]string{rowWeir, rowDefault}, []string{columnRoom, columnFlood}),
		"exact":      {{rowUncounted, columnFlood}},
		"frames":     cross([]string{rowSYN, rowSYN6, rowVLAN}, []string{"100k", "1M"}),
		"tcp-paired": {{pairOf(rowTCX, rowNone), columnTCP(1500)}, {pairOf(rowNative, rowXDPPass), columnTCP(1500)}},
		"kone-ways":  {{rowFiltered, columnSoftirq}},
		"kone":       cross([]string{rowIdle, rowFiltered, rowUnfiltered}, []string{columnSYN}),
		"lossless":   {{rowUncounted, "2 CPUs"}},
		"drain":      cross([]string{rowDrainWhole, rowPerRecord}, []string{"1M"}),
		"slowdown":   cross([]string{rowDraining, rowNotDrained}, []string{columnSlowdown}),
		"bulk":       {{bulkOf(row1M), columnBulk}},
	} {
		e := results.Experiment{ID: id}
		for _, c := range cells {
			e.Add(c[0], c[1], value(id, c[0], c[1]), 0, 0)
		}
		r.Experiments = append(r.Experiments, e)
	}
	return r
}

func cross(rows, columns []string) (all [][2]string) {
	for _, row := range rows {
		for _, column := range columns {
			all = append(all, [2]string{row, column})
		}
	}
	return all
}

// good keeps every promise by far.
func good(experiment, row, _ string) float64 {
	switch {
	case row == rowUncounted:
		return 0
	case row == rowStock:
		return 1000
	case experiment == "bulk":
		return 3e6
	case experiment == "kone-ways":
		return 0.1
	case experiment == "drain":
		return 5
	}
	return 10
}

func TestGoalsOfAGoodRunAreMet(t *testing.T) {
	goals := Goals(measured(good))
	if len(goals) < 20 {
		t.Fatalf("%d goals", len(goals))
	}
	for _, g := range goals {
		if !g.Met() {
			t.Errorf("%d %s: %s %s: %s", g.Number, g.Text, g.Measured(), g.Bound(), g.Verdict())
		}
	}
}

// TestGoalsAreMissedOneByOne spoils one number after the other: each must be
// read by a goal.
func TestGoalsAreMissedOneByOne(t *testing.T) {
	for _, c := range []struct {
		experiment, row, column string
		value                   float64
		number                  int
	}{
		{"stages", rowWeir, "100k", 15, 1},
		{"stages", rowWeir, "1", 21, 1},
		{"stages", rowStock, "1M", 60, 2},
		{"leases", row10k, columnPassing, 16, 3},
		{"leases", row1M, columnPassing, 23, 3},
		{"leases", row10k, column10kAll, 11, 3},
		{"leases", row1M, column1MAll, 151, 3},
		{"flood", rowWeir, columnFlood, 13, 4},
		{"flood", rowDefault, columnFlood, 13, 4},
		{"exact", rowUncounted, columnFlood, -1, 4},
		{"frames", rowSYN6, "100k", 12, 5},
		{"frames", rowVLAN, "100k", 12, 5},
		{"frames", rowSYN6, "1M", 12, 5},
		{"frames", rowVLAN, "1M", 12, 5},
		{"tcp-paired", pairOf(rowTCX, rowNone), columnTCP(1500), 0.94, 6},
		{"tcp-paired", pairOf(rowNative, rowXDPPass), columnTCP(1500), 0.94, 6},
		{"kone-ways", rowFiltered, columnSoftirq, 0.31, 7},
		{"lossless", rowUncounted, "2 CPUs", 1, 8},
		{"drain", rowDrainWhole, "1M", 21, 9},
		{"drain", rowPerRecord, "1M", 11, 9},
		{"slowdown", rowDraining, columnSlowdown, 11.5, 9},
		{"bulk", bulkOf(row1M), columnBulk, 1e6, 10},
	} {
		spoilt := measured(func(experiment, row, column string) float64 {
			if experiment == c.experiment && row == c.row && column == c.column {
				return c.value
			}
			return good(experiment, row, column)
		})
		missed := 0
		for _, g := range Goals(spoilt) {
			if g.Met() {
				continue
			}
			missed++
			if g.Number != c.number || g.Missing {
				t.Errorf("%v: goal %d is %s", c, g.Number, g.Verdict())
			}
		}
		if missed != 1 {
			t.Errorf("%v: %d goals missed, want 1", c, missed)
		}
	}
}

func TestGoalsOfNothingAreNotMeasured(t *testing.T) {
	for _, g := range Goals(&results.Report{}) {
		if !g.Missing || g.Met() {
			t.Errorf("%+v", g)
		}
	}
}

// TestACostBelowNothingIsNotMeasured: a ratio to it would be met whatever was measured.
func TestACostBelowNothingIsNotMeasured(t *testing.T) {
	for _, row := range []string{rowFloor, rowWeir} {
		for _, cost := range []float64{0, -0.8} {
			g := Goals(measured(func(experiment, r, column string) float64 {
				if experiment == "stages" && r == row && column == "1k" {
					return cost
				}
				return good(experiment, r, column)
			}))[1]
			if !strings.Contains(g.Text, "1k sources") || g.Met() || !g.Missing {
				t.Errorf("%s costs %v: %+v", row, cost, g)
			}
		}
	}
}

func TestCheckRepeatsWhatWasMissedAndTakesTheBetter(t *testing.T) {
	first := []results.Goal{{Value: 2, Limit: 1, Experiment: "stages"}, {Value: 0.5, Limit: 1, Experiment: "drain"}, {Missing: true, Experiment: "exact"}, {Missing: true, Experiment: "tcp-paired"}}
	if got := strings.Join(missedIn(first), " "); got != "stages flood tcp" {
		t.Errorf("repeats %q", got)
	}
	second := []results.Goal{{Value: 0.9, Limit: 1}, {Value: 3, Limit: 1}, {Missing: true}, {Missing: true}}
	goals := betterOf(first, second)
	if !goals[0].Met() || !goals[1].Met() || goals[2].Met() {
		t.Errorf("%+v", goals)
	}
}

func TestSummaryLeavesOutWhatWasNotMeasured(t *testing.T) {
	full := Summary(measured(good))
	for _, want := range []string{"the whole program costs 10.0 ns", "0.01 times what counting", "takes 5.00 ms", "10.0 % of one CPU unfiltered"} {
		if !strings.Contains(full, want) {
			t.Errorf("%q is missing in\n%s", want, full)
		}
	}
	if strings.Contains(full, "live frames") {
		t.Errorf("live frames were not measured:\n%s", full)
	}
	if empty := Summary(&results.Report{}); strings.Contains(empty, "NaN") || strings.Count(empty, "\n") != 0 {
		t.Errorf("of nothing: %s", empty)
	}
}
