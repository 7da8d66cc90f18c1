package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/weir-net/weir/services/weir/internal/backtest"
)

// mark stands before a line of the comparison.
func mark(c backtest.Change) string {
	switch c {
	case backtest.OnlyOld:
		return "-"
	case backtest.OnlyNew:
		return "+"
	case backtest.Changed:
		return "~"
	case backtest.Earlier:
		return "<"
	case backtest.Later:
		return ">"
	case backtest.Neither:
		return "?"
	}
	return "="
}

// printBacktest writes a comparison for people.
func (a *app) printBacktest(t *tested, all bool) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s to %s (%s): %d interfaces, %d windows, %s packets\n\n", t.From.Format(time.RFC3339), t.To.Format(time.RFC3339),
		short(t.To.Sub(t.From)), t.Interfaces, t.Windows, count(float64(t.Packets)))
	rows := make([][]string, 0, len(t.Rules))
	for _, r := range t.Rules {
		rows = append(rows, []string{r.Rule, tally(&r.Old), tally(&r.New), fmt.Sprintf("%d leases", r.Done),
			count(float64(r.Old.Packets)), count(float64(r.New.Packets))})
	}
	// A strings.Builder never fails.
	_ = table(&b, "RULE OLD NEW DONE OLD-WOULD-DROP NEW-WOULD-DROP", rows)
	fmt.Fprintf(&b, "attacks told of: %d and %d\n\n", len(t.OldAttacks), len(t.NewAttacks))
	rows = rows[:0]
	for i := range t.Leases {
		l := &t.Leases[i]
		if l.Change == backtest.Same && !all {
			continue
		}
		rows = append(rows, []string{mark(l.Change), l.Match, l.Interface, madeText(l.Old), madeText(l.New), doneText(l.Done)})
	}
	if len(rows) > 0 {
		_ = table(&b, "DIFF MATCH INTERFACE OLD NEW DONE", rows)
	}
	c := t.Changes
	fmt.Fprintf(&b, "= %d ordered by both, < %d sooner, > %d later, ~ %d otherwise, - %d by the old rules only, + %d by the new rules only, ? %d only in reality\n",
		c[backtest.Same], c[backtest.Earlier], c[backtest.Later], c[backtest.Changed], c[backtest.OnlyOld], c[backtest.OnlyNew], c[backtest.Neither])
	if t.Bad > 0 || t.CutOff {
		fmt.Fprintf(&b, "%d records could not be read", t.Bad)
		if t.CutOff {
			fmt.Fprint(&b, "; the file has no end, it was cut off")
		}
		fmt.Fprintln(&b)
	}
	p := t.Performance
	fmt.Fprintf(&b, "%d records in %.2f s: %s records/s, %s packets/s, %s times real time\n", t.Records, p.Seconds, count(p.RecordsPerSecond), count(p.PacketsPerSecond), count(p.Speed))
	fmt.Fprintln(&b)
	for _, n := range t.Notes {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	_, err := fmt.Fprint(a.Out, b.String())
	return err
}

func tally(t *backtest.Tally) string {
	s := fmt.Sprintf("%d leases", t.Leases)
	if t.Renewed > 0 {
		s += fmt.Sprintf(" +%d renewals", t.Renewed)
	}
	if t.Refused > 0 {
		s += fmt.Sprintf(", %d refused", t.Refused)
	}
	if t.Alerts > 0 {
		s += fmt.Sprintf(", %d alerts", t.Alerts)
	}
	return s
}

// madeText says what one side made of a lease: "R1 drop at 15:04:05.250, 120 ≥ 100,
// 4.0k packets".
func madeText(m *backtest.Made) string {
	if m == nil {
		return "-"
	}
	action := string(m.Action)
	if m.Strongest != m.Action {
		action += "→" + string(m.Strongest)
	}
	return fmt.Sprintf("%s %s at %s, %s ≥ %s, %s packets", m.Rule, action, m.First.Format("15:04:05.000"), number(m.Measured), number(m.Threshold), count(float64(m.Packets)))
}

func doneText(d *backtest.Done) string {
	if d == nil {
		return "-"
	}
	s := fmt.Sprintf("%s %s", d.Action, d.First.Format("15:04:05.000"))
	if d.Rule != "" {
		s = d.Rule + " " + s
	}
	if d.Before {
		s += " (before)"
	}
	return s
}
