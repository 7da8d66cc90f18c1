package paper

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-net/weir/loadtest/bench/results"
)

// Sizes of a plot, in pixels.
const (
	width      = 860
	lineHeight = 380
	left       = 70
	right      = 250 // room for the lines' names
	top        = 34
	bottom     = 48
	barLeft    = 240 // room for the rows' names
	barHeight  = 16
	barGap     = 12
)

// colour tells rows or columns apart, also for most who see colours otherwise
// (Okabe and Ito's set).
func colour(i int) string {
	set := []string{"#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000", "#777777"}
	return set[i%len(set)]
}

// ours is kept for Weir's own lines.
const ours = "#d55e00"

// pen returns a row's colour and line width.
func pen(i int, row string) (string, int) {
	if strings.HasPrefix(row, "Weir, whole") {
		return ours, 4
	}
	if strings.HasPrefix(row, "Weir") {
		return ours, 2
	}
	return colour(i), 2
}

// plot draws an experiment: over the number of sources as lines, others as bars,
// and those of no more than one number not at all.
func plot(e *results.Experiment) string {
	switch e.ID {
	case "stages", "flood":
		return lines(e)
	case "leases", "frames", "live-drop", "live-pass", "tcp", "tcp-cpu", "kone", "kone-each":
		return bars(e)
	}
	return ""
}

// canvas collects the elements of a plot.
type canvas struct {
	strings.Builder
}

func newCanvas(height int, title string) *canvas {
	c := &canvas{}
	fmt.Fprintf(c, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n",
		width, height, width, height)
	fmt.Fprintf(c, `<title>%s</title><rect width="%d" height="%d" fill="#ffffff"/>`+"\n", html.EscapeString(title), width, height)
	return c
}

func (c *canvas) text(x, y float64, anchor, colour, s string) {
	fmt.Fprintf(c, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>`+"\n", x, y, anchor, colour, html.EscapeString(s))
}

func (c *canvas) line(x1, y1, x2, y2 float64, colour string, strength float64) {
	fmt.Fprintf(c, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="%.1f"/>`+"\n", x1, y1, x2, y2, colour, strength)
}

func (c *canvas) end() string { return c.String() + "</svg>\n" }

// sourcesOf reads a number such as 10k.
func sourcesOf(column string) float64 {
	factor := 1.0
	switch {
	case strings.HasSuffix(column, "k"):
		factor = 1e3
	case strings.HasSuffix(column, "M"):
		factor = 1e6
	}
	n, err := strconv.ParseFloat(strings.TrimRight(column, "kM"), 64)
	if err != nil {
		return 1 // not a number of sources: then all are at one place
	}
	return n * factor
}

// lines draws each row over the number of sources, both axes logarithmic.
func lines(e *results.Experiment) string {
	columns := e.Columns()
	if len(columns) < 2 {
		return ""
	}
	lowX, highX := math.Log10(sourcesOf(columns[0])), math.Log10(sourcesOf(columns[len(columns)-1]))
	lowY, highY := 0.0, 1.0
	for _, p := range e.Points {
		highY = max(highY, math.Ceil(math.Log10(max(1, p.High, p.Value))*2)/2)
	}
	x := func(column string) float64 {
		return left + (math.Log10(sourcesOf(column))-lowX)/(highX-lowX)*(width-left-right)
	}
	y := func(v float64) float64 {
		return lineHeight - bottom - (math.Log10(max(1, v))-lowY)/(highY-lowY)*(lineHeight-top-bottom)
	}
	c := newCanvas(lineHeight, e.Title)
	c.text(left, top-14, "start", "#333333", e.Unit+", both axes logarithmic")
	for decade := 1.0; decade <= math.Pow(10, highY); decade *= 10 {
		c.line(left, y(decade), width-right, y(decade), "#dddddd", 1)
		c.text(left-8, y(decade)+4, "end", "#333333", strconv.FormatFloat(decade, 'f', -1, 64))
	}
	for _, column := range columns {
		c.line(x(column), lineHeight-bottom, x(column), lineHeight-bottom+5, "#333333", 1)
		c.text(x(column), lineHeight-bottom+20, "middle", "#333333", column)
	}
	c.text((left+width-right)/2, lineHeight-8, "middle", "#333333", "sources")
	c.rows(e, columns, x, y)
	return c.end()
}

// rows draws the lines, and their names where they end.
func (c *canvas) rows(e *results.Experiment, columns []string, x func(string) float64, y func(float64) float64) {
	type name struct {
		at           float64
		text, colour string
	}
	var names []name
	for i, row := range e.Rows() {
		colour, thick := pen(i, row)
		var path []string
		var at float64
		for _, column := range columns {
			p, ok := e.At(row, column)
			if !ok || p.Note != "" {
				continue
			}
			at = y(p.Value)
			path = append(path, fmt.Sprintf("%.1f,%.1f", x(column), at))
			c.line(x(column), y(p.Low), x(column), y(p.High), colour, 1)
			fmt.Fprintf(c, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(column), at, colour)
		}
		fmt.Fprintf(c, `<polyline points="%s" fill="none" stroke="%s" stroke-width="%d"/>`+"\n", strings.Join(path, " "), colour, thick)
		names = append(names, name{at, row, colour})
	}
	slices.SortFunc(names, func(a, b name) int { return cmp.Compare(a.at, b.at) })
	lowest := 0.0
	for _, n := range names { // from the top down, none over another
		lowest = max(n.at, lowest+14.5)
		c.text(width-right+10, lowest+4, "start", n.colour, n.text)
	}
}

// bars draws a bar per row and column, with its number.
func bars(e *results.Experiment) string {
	rows, columns := e.Rows(), e.Columns()
	highest := 0.0
	for _, p := range e.Points {
		highest = max(highest, p.Value, p.High)
	}
	if highest == 0 {
		return ""
	}
	group := len(columns)*barHeight + barGap
	height := top + 10 + len(rows)*group
	scale := (width - barLeft - 110) / highest
	c := newCanvas(height, e.Title)
	at := float64(barLeft)
	for i, column := range columns {
		fmt.Fprintf(c, `<rect x="%.1f" y="8" width="11" height="11" fill="%s"/>`+"\n", at, colour(i))
		c.text(at+16, 18, "start", "#333333", column)
		at += 34 + 7*float64(len(column))
	}
	c.text(barLeft-10, 18, "end", "#333333", e.Unit)
	for i, row := range rows {
		y := float64(top + i*group)
		named, _ := pen(5, row)
		c.text(barLeft-10, y+float64(len(columns)*barHeight)/2+4, "end", named, row)
		for j, column := range columns {
			p, ok := e.At(row, column)
			if !ok {
				continue
			}
			c.bar(y+float64(j*barHeight), scale, colour(j), p)
		}
	}
	return c.end()
}

func (c *canvas) bar(y, scale float64, colour string, p results.Point) {
	middle := y + (barHeight-3)/2.0
	if p.Note != "" {
		c.text(barLeft+4, middle+4, "start", "#777777", p.Note)
		return
	}
	length := max(1, p.Value*scale)
	fmt.Fprintf(c, `<rect x="%d" y="%.1f" width="%.1f" height="%d" fill="%s"/>`+"\n", barLeft, y, length, barHeight-3, colour)
	if p.High > p.Low {
		c.line(barLeft+max(0, p.Low)*scale, middle, barLeft+p.High*scale, middle, "#222222", 1)
	}
	c.text(barLeft+max(length, p.High*scale)+6, middle+4, "start", "#333333", results.Number(p.Value))
}
