package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-net/weir/schemas"
)

func (a *app) json() bool { return a.output == "json" }

// printJSON writes v as one line.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// table writes rows under a header, aligned.
func table(w io.Writer, header string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(header, " ", "\t"))
	for _, row := range rows {
		for i := range row {
			// Others wrote some of this: no control characters on a terminal.
			row[i] = schemas.Printable(row[i], 200)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

// count writes n as people read it: 950, 12.3k, 4.0M.
func count(n float64) string {
	for _, unit := range []string{"", "k", "M", "G", "T"} {
		if n < 999.5 || unit == "T" {
			if unit == "" {
				return fmt.Sprintf("%.0f", n)
			}
			return fmt.Sprintf("%.1f%s", n, unit)
		}
		n /= 1000
	}
	return ""
}

// short writes a duration to the second, or to the millisecond below one.
func short(d time.Duration) string {
	if d > -time.Second && d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return schemas.FormatDuration(d.Round(time.Second))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
