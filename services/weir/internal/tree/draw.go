package tree

import (
	"fmt"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/weir-net/weir/schemas"
)

// Screen is a drawing: its size in cells, and what is chosen on it.
type Screen struct {
	Width, Height int // Height 0: as many lines as there are rows
	Cursor        int // row, -1: none
	Top           int // the first row that is seen
	Scale         Scale
	Help          string // the last line; empty: none
}

// Columns after the label and the bar: width 0 leaves one out.
type columns struct{ label, bar, pps, bps, dropped, class, state int }

// fit chooses the columns for a width; what narrow screens lack goes first.
func fit(width int) columns {
	c := columns{label: 26, pps: 9, bps: 10, dropped: 9, class: 11, state: 28}
	if width < 110 {
		c.label, c.state = 24, 22
	}
	if width < 84 {
		c.bps, c.state = 0, 16
	}
	if width < 70 {
		c.class = 0
	}
	if width < 58 {
		c.state = 0
	}
	rest := width - c.label - c.pps - c.bps - c.dropped - c.class - c.state
	switch {
	case rest < 8:
		c.label = max(10, c.label+rest)
	case rest > 44:
		c.bar, c.label = 40, c.label+min(20, rest-44)
	default:
		c.bar = rest - 2
	}
	return c
}

// chrome is how many lines are not rows: the summary, an empty line, the
// columns' names, the legend.
const chrome = 4

// room is how many rows a screen of so many lines shows.
func (s Screen) room() int { return max(1, s.Height-chrome-min(1, len(s.Help))) }

// Draw returns the screen's lines, with colours.
func Draw(sum Summary, rows []Row, s Screen) string {
	c := fit(s.Width)
	lines := []string{headline(sum), "", faint(header(c))}
	shown := rows
	if s.Height > 0 {
		from := max(0, min(s.Top, len(rows)-1))
		shown = rows[from:min(len(rows), from+s.room())]
	}
	for n, row := range shown {
		lines = append(lines, line(row, c, s.Scale, s.Height > 0 && n+s.Top == s.Cursor))
	}
	if len(rows) == 0 {
		lines = append(lines, faint("No probe has been heard of yet."))
	}
	for s.Height > 0 && len(lines) < s.Height-1-min(1, len(s.Help)) {
		lines = append(lines, "")
	}
	lines = append(lines, legend(s.Scale))
	if s.Help != "" {
		lines = append(lines, faint(s.Help))
	}
	for n := range lines {
		lines[n] = ansi.Truncate(lines[n], max(1, s.Width), "…")
	}
	return strings.Join(lines, "\n")
}

// headline begins with what matters most on a narrow screen: whether this is now.
func headline(s Summary) string {
	out := bold("Weir") + "  " + freshness(s) + fmt.Sprintf("  %s, %s", plural(s.Servers, "server"), plural(s.Interfaces, "interface"))
	if s.Stale > 0 {
		out += fmt.Sprintf(" (%d stale)", s.Stale)
	}
	return out + fmt.Sprintf("  %s packets/s  %sbit/s  %s dropped/s", number(s.PPS), spaced(number(s.BPS)), number(s.Dropped))
}

func freshness(s Summary) string {
	switch {
	case s.Silence < 0:
		return faint("nothing heard yet")
	case s.Silence > 3*time.Second:
		return lipgloss.NewStyle().Foreground(lipgloss.Color("#e0302a")).Render("nothing heard for " + age(s.Silence))
	}
	return lipgloss.NewStyle().Foreground(lipgloss.Color("#1f9d45")).Render("live")
}

func header(c columns) string {
	var b strings.Builder
	b.WriteString(left("", c.label+c.bar+min(2, c.bar)))
	for _, col := range []struct {
		name  string
		width int
	}{{"packets/s", c.pps}, {"bit/s", c.bps}, {"dropped", c.dropped}} {
		if col.width > 0 {
			b.WriteString(right(col.name, col.width))
		}
	}
	b.WriteString(left("  class", c.class) + left("  state", min(c.state, 7)))
	return b.String()
}

// line draws one row. A cursor turns its label around.
func line(r Row, c columns, scale Scale, cursor bool) string {
	text := schemas.Printable(r.Label, 200)
	mark := "  "
	switch {
	case r.Kind > Interface || r.Childless:
	case r.Open:
		mark = "▾ "
	default:
		mark = "▸ "
	}
	indent := [...]string{Server: "", Interface: "  ", Source: "    ", Rest: "    "}[r.Kind]
	label := left(ansi.Truncate(indent+mark+text, c.label-1, "…"), c.label)
	colour := lipgloss.NewStyle().Foreground(lipgloss.Color(scale.palette()[scale.Level(r.Worst)]))
	style := lipgloss.NewStyle()
	switch {
	case r.Stale:
		style = style.Faint(true).Italic(true)
	case r.Kind == Rest:
		style = style.Faint(true)
	case r.Kind == Source:
		style = colour
	default:
		style = colour.Bold(true)
	}
	if cursor {
		style = style.Reverse(true)
	}
	out := style.Render(label)
	if c.bar > 0 {
		out += bar(r, c.bar, colour) + "  "
	}
	cells := right(rate(r, r.PPS), c.pps) + right(rate(r, r.BPS), c.bps)
	dropped := right(rate(r, r.Dropped), c.dropped)
	if r.Dropped >= 0.5 {
		dropped = bold(dropped)
	}
	tail := left("  "+r.Class, c.class)
	if c.state > 0 {
		tail += "  " + state(r) // the last column may be as long as the screen lets it
	}
	if r.Stale || r.Kind == Rest {
		return out + faint(cells+dropped+tail)
	}
	return out + cells + dropped + tail
}

func state(r Row) string {
	if r.Kind == Interface && r.Stale && r.Age >= 0 {
		return r.State + " " + age(r.Age)
	}
	return r.State
}

func rate(r Row, v float64) string {
	if r.Stale {
		return "-"
	}
	return number(v)
}

// bar is as long as the row's share of what it is compared with; what was dropped
// of it is hatched, beside what passed.
func bar(r Row, width int, colour lipgloss.Style) string {
	if r.PPS < 0.5 || r.Of <= 0 {
		return left("", width)
	}
	n := max(1, int(r.PPS/r.Of*float64(width)+0.5))
	n = min(n, width)
	hatched := min(n, int(r.Dropped/r.PPS*float64(n)+0.5))
	if r.Dropped >= 0.5 && n > 1 {
		hatched = max(1, hatched)
	}
	return colour.Render(strings.Repeat("█", n-hatched)+strings.Repeat("▒", hatched)) + left("", width-n)
}

func legend(s Scale) string {
	texts := [levels]string{"0", "1–" + whole(s.Bounds[0]), whole(s.Bounds[0]+1) + "–" + whole(s.Bounds[1]), whole(s.Bounds[1]+1) + "–" + whole(s.Bounds[2]), "above"}
	var b strings.Builder
	for level, colour := range s.palette() {
		b.WriteString(lipgloss.NewStyle().Foreground(lipgloss.Color(colour)).Render("█") + " " + texts[level] + "  ")
	}
	return b.String() + "packets/s   ▒ dropped"
}

func bold(s string) string  { return lipgloss.NewStyle().Bold(true).Render(s) }
func faint(s string) string { return lipgloss.NewStyle().Faint(true).Render(s) }

// left and right pad a text to a width in cells; a width of 0 leaves it out.
func left(s string, width int) string {
	if width <= 0 {
		return ""
	}
	s = ansi.Truncate(s, width, "…")
	return s + strings.Repeat(" ", width-ansi.StringWidth(s))
}

func right(s string, width int) string {
	if width <= 0 {
		return ""
	}
	s = ansi.Truncate(s, width, "…")
	return strings.Repeat(" ", width-ansi.StringWidth(s)) + s
}

// number writes n with three digits or so: 950, 12.3k, 4.0M.
func number(n float64) string {
	for _, unit := range []string{"", "k", "M", "G"} {
		if n < 999.5 {
			if unit == "" {
				return fmt.Sprintf("%.0f", n)
			}
			return fmt.Sprintf("%.1f%s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.1fT", n)
}

// spaced puts a space before the unit prefix, or after a number without one.
func spaced(n string) string {
	if i := strings.IndexAny(n, "kMGT"); i >= 0 {
		return n[:i] + " " + n[i:]
	}
	return n + " "
}

// whole writes n with separators.
func whole(n float64) string {
	s := fmt.Sprintf("%.0f", n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func age(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}
