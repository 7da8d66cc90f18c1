package cli

import (
	"fmt"
	"time"
)

// parseWhen reads a moment: RFC 3339, or a duration, which means as long ago.
func parseWhen(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q: want a moment such as 2026-01-02T15:04:05Z, or how long ago such as 30m", s)
	}
	return t, nil
}
