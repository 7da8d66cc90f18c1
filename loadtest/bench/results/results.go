// Package results holds what a benchmark measured: numbers with their meaning,
// written to one file, printed as tables, drawn as plots and held against goals.
package results

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
)

// Report is one run of all experiments.
type Report struct {
	Machine     Machine      `json:"machine"`
	Experiments []Experiment `json:"experiments"`
	Goals       []Goal       `json:"goals,omitempty"`
}

// Experiment is one table of numbers of one unit.
type Experiment struct {
	ID     string  `json:"id"`
	Title  string  `json:"title"`
	Unit   string  `json:"unit"`
	Method string  `json:"method"` // a sentence or two, for the page
	Versus string  `json:"versus"` // the row that ratios divide by; empty: none
	Commit string  `json:"commit"` // of what was measured
	Points []Point `json:"points"`
}

// Point is one cell.
type Point struct {
	Row    string  `json:"row"`
	Column string  `json:"column"`
	Value  float64 `json:"value"`
	Low    float64 `json:"low,omitempty"`  // the quartiles, where there are several trials
	High   float64 `json:"high,omitempty"` //
	Note   string  `json:"note,omitempty"` // instead of a number: why there is none
}

// Add appends a number with its quartiles. One that is none, such as a share of
// nothing, becomes a note: a file could not hold it, and one cell must not cost
// the others.
func (e *Experiment) Add(row, column string, value, low, high float64) {
	for _, v := range []float64{value, low, high} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			e.Skip(row, column, "not measurable")
			return
		}
	}
	e.Points = append(e.Points, Point{Row: row, Column: column, Value: value, Low: low, High: high})
}

// Skip appends the reason why there is no number.
func (e *Experiment) Skip(row, column, why string) {
	e.Points = append(e.Points, Point{Row: row, Column: column, Note: why})
}

// Rows and Columns return the names in the order of their first use.
func (e *Experiment) Rows() []string {
	return names(e.Points, func(p Point) string { return p.Row })
}

// Columns is as Rows.
func (e *Experiment) Columns() []string {
	return names(e.Points, func(p Point) string { return p.Column })
}

func names(points []Point, of func(Point) string) (all []string) {
	for _, p := range points {
		if !slices.Contains(all, of(p)) {
			all = append(all, of(p))
		}
	}
	return all
}

// At returns a cell, if it is there.
func (e *Experiment) At(row, column string) (Point, bool) {
	for _, p := range e.Points {
		if p.Row == row && p.Column == column {
			return p, true
		}
	}
	return Point{}, false
}

// Value returns a cell's number.
func (r *Report) Value(experiment, row, column string) (float64, bool) {
	for i := range r.Experiments {
		if r.Experiments[i].ID != experiment {
			continue
		}
		if p, ok := r.Experiments[i].At(row, column); ok && p.Note == "" {
			return p.Value, true
		}
	}
	return 0, false
}

// Replace puts an experiment in place of the one of the same ID, or at the end.
func (r *Report) Replace(e Experiment) {
	for i := range r.Experiments {
		if r.Experiments[i].ID == e.ID {
			r.Experiments[i] = e
			return
		}
	}
	r.Experiments = append(r.Experiments, e)
}

// Load reads a report; one that does not exist is empty.
func Load(path string) (*Report, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return &Report{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading results: %w", err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return &r, nil
}

// Save writes a report.
func (r *Report) Save(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return fmt.Errorf("encoding results: %w", err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("writing results: %w", err)
	}
	return nil
}
