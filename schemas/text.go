package schemas

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// isPlain reports whether s is printable ASCII throughout.
func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// printable refuses control characters and, since they can reorder a line on a
// terminal, formatting characters; the replacement rune stands for bad UTF-8.
func printable(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }

func runeLen(r rune) int { return utf8.RuneLen(r) }

// FormatDuration writes d as people do: "10m" where time.Duration's own
// String says "10m0s". time.ParseDuration reads it back.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
