package tree

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
)

// Kind is what a row is about.
type Kind int

// The kinds, from the root outwards.
const (
	Server Kind = iota
	Interface
	Source
	Rest // the sources that have no row of their own
)

// Row is one line of the tree.
type Row struct {
	Kind      Kind
	Key       string // names it from one drawing to the next
	Label     string
	PPS       float64 // received
	BPS       float64 // bits
	Dropped   float64 // packets per second of PPS
	Of        float64 // PPS of what the bar compares it with
	Worst     float64 // PPS that colours it: of a server, its worst interface's
	Class     string
	State     string
	Age       time.Duration // of an interface's data
	Stale     bool
	Open      bool // its children follow
	Childless bool
}

// Summary is the fleet as a whole; stale interfaces are in none of the sums.
type Summary struct {
	Servers, Interfaces, Stale int
	PPS, BPS, Dropped          float64
	Silence                    time.Duration // since the latest rates, negative if there were none
}

// View is what the person chose.
type View struct {
	Sources int             // shown per interface, at most
	Closed  map[string]bool // keys of rows whose children are hidden
	ByRate  bool            // the busiest first, instead of by name
	Seen    map[string]bool // keys of the interfaces on the screen
	Budget  time.Duration   // for reading what is not; 0: whatever it takes
}

// Rows returns the tree as it is at the local time.
func (p *Picture) Rows(local time.Time, v View) (Summary, []Row) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read(v)
	now := p.now(local)
	var sum Summary
	servers := make(map[string][]*nic)
	for key, i := range p.interfaces {
		if i.ratesAt.IsZero() && i.statusAt.IsZero() {
			continue // not read yet
		}
		if i.forgotten(now) {
			delete(p.interfaces, key)
			continue
		}
		host, _ := i.name()
		servers[host] = append(servers[host], i)
		sum.Interfaces++
		if i.stale(now) {
			sum.Stale++
			continue
		}
		sum.PPS, sum.BPS, sum.Dropped = sum.PPS+i.rates.PPS, sum.BPS+i.rates.BPS, sum.Dropped+i.rates.DroppedPPS
	}
	sum.Servers, sum.Silence = len(servers), -1
	if !p.heard.IsZero() {
		sum.Silence = now.Sub(p.heard)
	}
	heads := make([]Row, 0, len(servers))
	for _, host := range slices.Sorted(maps.Keys(servers)) {
		heads = append(heads, serverRow(host, servers[host], now, v))
	}
	arrange(heads, v)
	compareWithHeaviest(heads)
	var out []Row
	for _, head := range heads {
		out = append(out, head)
		if head.Open {
			out = append(out, interfaceRows(servers[head.Label], now, v)...)
		}
	}
	return sum, out
}

func serverRow(host string, interfaces []*nic, now time.Time, v View) Row {
	row := Row{Kind: Server, Key: host, Label: host, Stale: true, Open: !v.Closed[host]}
	stale := 0
	for _, i := range interfaces {
		if i.stale(now) {
			stale++
			continue
		}
		row.Stale = false
		row.PPS, row.BPS, row.Dropped = row.PPS+i.rates.PPS, row.BPS+i.rates.BPS, row.Dropped+i.rates.DroppedPPS
		row.Worst = max(row.Worst, i.rates.PPS)
	}
	row.State = plural(len(interfaces), "interface")
	if stale > 0 {
		row.State += fmt.Sprintf(", %d stale", stale)
	}
	return row
}

func interfaceRows(interfaces []*nic, now time.Time, v View) []Row {
	byKey := make(map[string]*nic, len(interfaces))
	heads := make([]Row, 0, len(interfaces))
	for _, i := range interfaces {
		host, name := i.name()
		key := schemas.InterfaceKey(host, name)
		byKey[key] = i
		r := &i.rates
		row := Row{Kind: Interface, Key: key, Label: name, Stale: i.stale(now), Open: !v.Closed[key], State: i.condition(now), Age: -1}
		if !i.ratesAt.IsZero() {
			row.Age = max(0, now.Sub(i.ratesAt))
		}
		if !row.Stale {
			row.PPS, row.BPS, row.Dropped, row.Worst, row.Class = r.PPS, r.BPS, r.DroppedPPS, r.PPS, mainClass(r.Window1s)
		}
		row.Childless = row.Stale || len(r.Top) == 0
		heads = append(heads, row)
	}
	arrange(heads, v)
	compareWithHeaviest(heads)
	var out []Row
	for _, head := range heads {
		out = append(out, head)
		if head.Open && !head.Childless {
			out = append(out, sourceRows(&byKey[head.Key].rates, v.Sources)...)
		}
	}
	return out
}

// sourceRows are the n heaviest sources, and what is left of the interface.
func sourceRows(r *rates.Record, n int) []Row {
	top := slices.Clone(r.Top)
	slices.SortStableFunc(top, func(a, b rates.Source) int { return cmp.Compare(b.PPS, a.PPS) })
	top = top[:min(n, len(top))]
	left := r.Window1s
	out := make([]Row, 0, len(top)+1)
	for _, s := range top {
		if s.Window1s.Packets == 0 {
			continue // it is among the top of 10 s only
		}
		out = append(out, Row{
			Kind: Source, Key: r.Key() + "|" + s.Source.String(), Label: s.Source.String(), PPS: s.PPS, BPS: s.BPS, Worst: s.PPS, Of: r.PPS,
			Class: mainClass(s.Window1s), State: fate(s.Window1s), Dropped: s.PPS * ratio(s.Window1s.Dropped, s.Window1s.Packets),
		})
		left.Packets -= min(left.Packets, s.Window1s.Packets)
		left.Bytes -= min(left.Bytes, s.Window1s.Bytes)
		left.Dropped -= min(left.Dropped, s.Window1s.Dropped)
	}
	if more := int(r.Sources1s) - len(out); more > 0 && left.Packets > 0 {
		// Rates of what is left, from counts: those of rates would leave crumbs.
		out = append(out, Row{
			Kind: Rest, Key: r.Key() + "|", Label: plural(more, "more source"), Of: r.PPS, PPS: r.PPS * ratio(left.Packets, r.Window1s.Packets),
			BPS: r.BPS * ratio(left.Bytes, r.Window1s.Bytes), Dropped: r.PPS * ratio(left.Dropped, r.Window1s.Packets),
		})
	}
	return out
}

// arrange sorts rows by name as people count (eth2 before eth10), or by rate.
func arrange(rows []Row, v View) {
	slices.SortStableFunc(rows, func(a, b Row) int {
		if v.ByRate {
			if c := cmp.Compare(b.PPS, a.PPS); c != 0 {
				return c
			}
		}
		return byNumbers(a.Label, b.Label)
	})
}

// byNumbers compares texts with the numbers in them as numbers.
func byNumbers(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			x, y := strings.TrimLeft(a[:na], "0"), strings.TrimLeft(b[:nb], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}

// compareWithHeaviest makes the heaviest row's bar the longest.
func compareWithHeaviest(rows []Row) {
	heaviest := 0.0
	for _, r := range rows {
		heaviest = max(heaviest, r.PPS)
	}
	for i := range rows {
		rows[i].Of = heaviest
	}
}

// condition is an interface's mode, and what is wrong with its data.
func (n *nic) condition(now time.Time) string {
	var out []string
	if n.status.Mode != "" {
		out = append(out, n.status.Mode)
	}
	switch {
	case n.ratesAt.IsZero():
		out = append(out, "no rates yet")
	case n.stale(now):
		out = append(out, "stale")
	default:
		if !n.rates.Complete {
			out = append(out, "incomplete")
		}
		if n.rates.Truncated {
			out = append(out, "table full")
		}
	}
	if n.rates.LostWindows > 0 {
		out = append(out, plural(int(n.rates.LostWindows), "window")+" lost")
	}
	return strings.Join(out, ", ")
}

// fate is what became of a source's packets within the last second.
func fate(c rates.Counts) string {
	switch {
	case c.Dropped == 0:
		return "pass"
	case c.Dropped*2 > c.Packets:
		return "dropped"
	}
	return "partly dropped"
}

func ratio(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return min(1, float64(part)/float64(whole))
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
		return ""
	}
	return schemas.ClassNames[best]
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
