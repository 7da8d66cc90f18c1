package schemas

import "fmt"

// Fault says in one stable word why a record was refused.
type Fault string

// The faults. Append only.
const (
	FaultTooLarge Fault = "too-large" // more bytes or elements than the codec takes
	FaultSyntax   Fault = "syntax"    // not JSON, not protobuf, or the wrong JSON type
	FaultVersion  Fault = "version"   // a "v" that this code does not know
	FaultKey      Fault = "key"       // a key that does not parse, or in another spelling
	FaultMismatch Fault = "mismatch"  // key and value contradict each other
	FaultField    Fault = "field"     // a field that is missing or out of its range
)

// RecordError is what every codec returns for a record that it refuses.
// Reason is one sentence for people and contains no control characters.
type RecordError struct {
	Fault  Fault
	Reason string
}

// Error returns the fault and the reason.
func (e *RecordError) Error() string { return string(e.Fault) + ": " + e.Reason }

// Refuse returns a RecordError. Its reason is formatted as by fmt.Sprintf,
// made printable and cut at 512 bytes, since it may quote hostile input.
func Refuse(f Fault, format string, args ...any) error {
	return &RecordError{Fault: f, Reason: Printable(fmt.Sprintf(format, args...), 512)}
}

// Printable returns s with everything but printable characters replaced by
// '?', cut at limit bytes: fit for logs, events and terminals.
func Printable(s string, limit int) string {
	if len(s) <= limit && isPlain(s) {
		return s
	}
	out := make([]rune, 0, min(len(s), limit))
	size := 0
	for _, r := range s {
		if r != ' ' && !printable(r) {
			r = '?'
		}
		size += runeLen(r)
		if size > limit {
			break
		}
		out = append(out, r)
	}
	return string(out)
}
