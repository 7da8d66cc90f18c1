package dataplane

import (
	"fmt"
	"math"
	"runtime"

	"github.com/weir-net/weir/loadtest/bench/results"
)

// cell names a number of a report.
type cell struct{ experiment, row, column string }

// Goals holds a report against what the data plane promises. Ratios and
// differences are of one run, so that they mean the same on every machine.
func Goals(r *results.Report) []results.Goal {
	g := judge{report: r}
	for _, n := range []string{"1", "1k", "100k", "1M"} {
		limit := 1.4
		if n == "1" || n == "1k" {
			limit = 2
		}
		g.ratio(1, "whole program / floor, "+n+" sources", limit, cell{"stages", rowWeir, n}, cell{"stages", rowFloor, n})
	}
	for _, n := range []string{"1", "100k", "1M"} {
		limit := 0.12
		if n == "1" {
			limit = 0.6
		}
		g.ratio(2, "whole program / LRU_PERCPU_HASH, "+n+" sources", limit, cell{"stages", rowWeir, n}, cell{"stages", rowStock, n})
	}
	passing := cell{"leases", rowNoLease, columnPassing}
	g.difference(3, "ns more with 10k leases, none matching", 5, cell{"leases", row10k, columnPassing}, passing)
	g.difference(3, "ns more with 1M leases, none matching", 12, cell{"leases", row1M, columnPassing}, passing)
	g.ratio(3, "a listed source / passing it, 10k leases", 1, cell{"leases", row10k, column10kAll}, cell{"leases", rowNoLease, column10kAll})
	g.value(3, "ns for a listed source, 1M leases", 150, cell{"leases", row1M, column1MAll})
	for _, row := range []string{rowWeir, rowDefault} {
		g.ratio(4, row+": 16M sources / 1M", 1.2, cell{"flood", row, columnFlood}, cell{"flood", row, columnRoom})
	}
	g.value(4, "packets of a flood of 16M sources unaccounted for", 0, cell{"exact", rowUncounted, columnFlood})
	for _, row := range []string{rowSYN6, rowVLAN} {
		for _, n := range []string{"100k", "1M"} {
			g.ratio(5, row+" / IPv4, "+n+" sources", 1.15, cell{"frames", row, n}, cell{"frames", rowSYN, n})
		}
	}
	for _, pair := range [][2]string{{rowTCX, rowNone}, {rowNative, rowXDPPass}} {
		row := pairOf(pair[0], pair[1])
		g.atLeast(6, "bulk TCP in lockstep, "+row+", MTU 1500", 0.95, cell{"tcp-paired", row, columnTCP(1500)})
	}
	g.value(7, "points of the machine's CPU over idle, flood filtered in softirq, 2,320 pps", 0.3, cell{"kone-ways", rowFiltered, columnSoftirq})
	g.value(8, "packets unaccounted for while drained every 250 ms", 0, cell{"lossless", rowUncounted, columnCPUs(r.Machine.CPUs)})
	g.value(9, "ms to drain 1M sources on every CPU", 20, cell{"drain", rowDrainWhole, "1M"})
	g.value(9, "ns per record drained", 10, cell{"drain", rowPerRecord, "1M"})
	g.ratio(9, "cost of a packet while drained / not drained", 1.1, cell{"slowdown", rowDraining, columnSlowdown}, cell{"slowdown", rowNotDrained, columnSlowdown})
	g.atLeast(10, "leases per second loaded in bulk, 1M exact", 2e6, cell{"bulk", bulkOf(row1M), columnBulk})
	return g.goals
}

// columnCPUs names a number of CPUs.
func columnCPUs(n int) string {
	if n == 0 {
		n = runtime.NumCPU()
	}
	return fmt.Sprintf("%d CPUs", n)
}

// judge collects goals.
type judge struct {
	report *results.Report
	goals  []results.Goal
}

func (g *judge) add(number int, text string, limit, value float64, ok bool, c cell) {
	missing := !ok || math.IsNaN(value) || math.IsInf(value, 0)
	if missing {
		value = 0
	}
	g.goals = append(g.goals, results.Goal{Number: number, Text: text, Experiment: c.experiment, Value: value, Limit: limit, Missing: missing})
}

func (g *judge) at(c cell) (float64, bool) { return g.report.Value(c.experiment, c.row, c.column) }

func (g *judge) value(number int, text string, limit float64, c cell) {
	v, ok := g.at(c)
	g.add(number, text, limit, math.Abs(v), ok, c)
}

func (g *judge) ratio(number int, text string, limit float64, a, b cell) {
	v, ok := g.at(a)
	w, ok2 := g.at(b)
	// A cost of nothing was not measured: disturbances were larger than it is.
	g.add(number, text, limit, v/w, ok && ok2 && v > 0 && w > 0, a)
}

func (g *judge) atLeast(number int, text string, limit float64, c cell) {
	g.value(number, text, limit, c)
	g.goals[len(g.goals)-1].AtLeast = true
}

func (g *judge) difference(number int, text string, limit float64, a, b cell) {
	v, ok := g.at(a)
	w, ok2 := g.at(b)
	g.add(number, text, limit, v-w, ok && ok2, a)
}
