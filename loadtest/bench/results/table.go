package results

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// Print writes the experiment as a table, with ratios to the row Versus.
func (e *Experiment) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (%s)\n", e.Title, e.Unit)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	columns := e.Columns()
	fmt.Fprintf(tw, "\t%s\t\n", strings.Join(columns, "\t"))
	for _, row := range e.Rows() {
		fmt.Fprintf(tw, "%s\t", row)
		for _, column := range columns {
			fmt.Fprintf(tw, "%s\t", e.Cell(row, column))
		}
		fmt.Fprintln(tw)
	}
	_ = tw.Flush()
}

// Cell is the text of a cell: the number, and its ratio to the row Versus.
func (e *Experiment) Cell(row, column string) string {
	p, ok := e.At(row, column)
	if !ok {
		return ""
	}
	if p.Note != "" {
		return p.Note
	}
	s := Number(p.Value)
	if base, ok := e.At(e.Versus, column); ok && base.Note == "" && base.Value > 0 && row != e.Versus {
		s += fmt.Sprintf(" (%s×)", Number(p.Value/base.Value))
	}
	return s
}

// Number writes a value with about three digits.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1000:
		return group(fmt.Sprintf("%.0f", v))
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// group puts commas between thousands.
func group(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}
