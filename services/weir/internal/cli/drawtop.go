package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
)

// drawTop writes the tables of interfaces and of the heaviest sources, the
// heaviest first. With a height it is cut to that many lines.
func drawTop(records []seenRates, sources, height int) []byte {
	records = slices.Clone(records)
	slices.SortStableFunc(records, func(x, y seenRates) int { return cmp.Compare(y.PPS, x.PPS) })
	var pps, bps, dropped float64
	rows := make([][]string, 0, len(records))
	for i := range records {
		r := &records[i].Record
		pps, bps, dropped = pps+r.PPS, bps+r.BPS, dropped+r.DroppedPPS
		rows = append(rows, []string{
			schemas.InterfaceKey(r.Host, r.Interface), count(r.PPS), count(r.BPS), count(r.DroppedPPS),
			classes(r), count(float64(r.Sources1s)), condition(r),
		})
	}
	heavy := sourceRows(records, sources)
	hidden := 0
	if height > 0 {
		// A summary, a blank line and two headers with a blank line between.
		room := max(2, height-6)
		n := min(len(rows), max(room-len(heavy), room/2))
		hidden = len(rows) - n
		rows, heavy = rows[:n], heavy[:min(len(heavy), room-n)]
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d interfaces  %s packets/s  %sbit/s  %s dropped/s", len(records), count(pps), count(bps), count(dropped))
	if hidden > 0 {
		fmt.Fprintf(&b, "  (%d not shown)", hidden)
	}
	fmt.Fprint(&b, "\n\n")
	// A bytes.Buffer never fails.
	_ = table(&b, "INTERFACE PPS BPS DROPPED CLASSES SOURCES DATA", rows)
	fmt.Fprintln(&b)
	_ = table(&b, "SOURCE INTERFACE PPS BPS DROPPED CLASS", heavy)
	return b.Bytes()
}

// sourceRows returns the n heaviest sources of all interfaces by packets.
func sourceRows(records []seenRates, n int) [][]string {
	type heavy struct {
		key string
		*rates.Source
	}
	var all []heavy
	for i := range records {
		if records[i].Stale {
			continue
		}
		for j := range records[i].Top {
			all = append(all, heavy{records[i].Key(), &records[i].Top[j]})
		}
	}
	slices.SortStableFunc(all, func(x, y heavy) int { return cmp.Compare(y.PPS, x.PPS) })
	var rows [][]string
	for _, s := range all[:min(n, len(all))] {
		rows = append(rows, []string{
			s.Source.Source.String(), s.key, count(s.PPS), count(s.BPS),
			count(float64(s.Window1s.Dropped)), mainClass(s.Window1s),
		})
	}
	return rows
}

// classes lists the classes of the last second that make up 5 % and more.
func classes(r *rates.Record) string {
	var out []string
	for class, packets := range r.Window1s.ByClass {
		if packets > 0 && packets*20 >= r.Window1s.Packets {
			out = append(out, fmt.Sprintf("%s:%d%%", schemas.ClassNames[class], packets*100/max(1, r.Window1s.Packets)))
		}
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ",")
}

// mainClass is the class of most packets.
func mainClass(c rates.Counts) string {
	best := 0
	for class, packets := range c.ByClass {
		if packets > c.ByClass[best] {
			best = class
		}
	}
	if c.ByClass[best] == 0 {
		return "-"
	}
	return schemas.ClassNames[best]
}

// condition says how far the figures can be trusted.
func condition(r *rates.Record) string {
	var out []string
	if r.Stale {
		out = append(out, "stale")
	}
	if !r.Complete {
		out = append(out, "incomplete")
	}
	if r.Truncated {
		out = append(out, "truncated")
	}
	if r.LostWindows > 0 {
		out = append(out, fmt.Sprintf("%d lost", r.LostWindows))
	}
	if len(out) == 0 {
		return "ok"
	}
	return strings.Join(out, ",")
}
