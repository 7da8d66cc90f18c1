// Package doctor finds out why Weir would not work, or not work well, on this
// machine and with these brokers: one line per finding, with what to do about it.
package doctor

import (
	"fmt"
	"io"
	"strings"

	"github.com/weir-net/weir/schemas"
)

// Level is how bad a finding is.
type Level string

// The levels. Only Fail keeps Weir from working.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Finding is one thing that was looked at.
type Finding struct {
	Check  string `json:"check"` // kernel, interface eth0, topic weir.counts.v1
	Level  Level  `json:"level"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do, unless all is well
}

func ok(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: OK, Found: fmt.Sprintf(format, args...)}
}

func (f Finding) warn(advice string, args ...any) Finding {
	f.Level, f.Advice = Warn, fmt.Sprintf(advice, args...)
	return f
}

func (f Finding) fail(advice string, args ...any) Finding {
	f.Level, f.Advice = Fail, fmt.Sprintf(advice, args...)
	return f
}

// Failed reports whether any finding is a Fail.
func Failed(findings []Finding) bool {
	for _, f := range findings {
		if f.Level == Fail {
			return true
		}
	}
	return false
}

// Print writes one line per finding, and one more where there is advice.
func Print(w io.Writer, findings []Finding) error {
	width := 0
	for _, f := range findings {
		width = max(width, len(f.Check))
	}
	for _, f := range findings {
		// Others wrote some of this: no control characters on a terminal.
		line := fmt.Sprintf("%-4s  %-*s  %s\n", f.Level, width, f.Check, schemas.Printable(f.Found, 300))
		if f.Advice != "" {
			line += fmt.Sprintf("%s  → %s\n", strings.Repeat(" ", 4), schemas.Printable(f.Advice, 300))
		}
		if _, err := io.WriteString(w, line); err != nil {
			return fmt.Errorf("printing: %w", err)
		}
	}
	return nil
}
