package results

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Goal is one promise, held against what was measured.
type Goal struct {
	Number     int     `json:"number"` // several may share one
	Text       string  `json:"text"`
	Experiment string  `json:"experiment"` // that it is read from
	Value      float64 `json:"value"`
	Limit      float64 `json:"limit"`
	AtLeast    bool    `json:"at_least,omitempty"` // else at most
	Missing    bool    `json:"missing,omitempty"`  // was not measured, or could not be
}

// Met tells whether the promise is kept.
func (g Goal) Met() bool {
	if g.Missing {
		return false
	}
	if g.AtLeast {
		return g.Value >= g.Limit
	}
	return g.Value <= g.Limit
}

// Verdict is met, missed or not measured.
func (g Goal) Verdict() string {
	switch {
	case g.Missing:
		return "not measured"
	case g.Met():
		return "met"
	}
	return "missed"
}

// Bound is the limit with its direction.
func (g Goal) Bound() string {
	if g.AtLeast {
		return "≥ " + Number(g.Limit)
	}
	return "≤ " + Number(g.Limit)
}

// Measured is the value, or a dash.
func (g Goal) Measured() string {
	if g.Missing {
		return "–"
	}
	return Number(g.Value)
}

// PrintGoals writes goals as a table: all, or those that were measured.
func PrintGoals(w io.Writer, goals []Goal, all bool) {
	fmt.Fprintln(w, "\nGoals")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, g := range goals {
		if g.Missing && !all {
			continue
		}
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t\n", g.Number, g.Text, g.Measured(), g.Bound(), g.Verdict())
	}
	_ = tw.Flush()
}
