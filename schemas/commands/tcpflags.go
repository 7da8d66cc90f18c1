package commands

import (
	"strings"

	"github.com/weir-net/weir/schemas"
)

// tcpFlagNames are the names of the TCP flags, by bit.
var tcpFlagNames = [8]string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}

// String returns the canonical text: the flags that must be set, then those
// that must not with a "!", each from the lowest bit, joined by "+". The zero
// value is "".
func (f TCPFlags) String() string {
	var parts []string
	for bit, name := range tcpFlagNames {
		if f.Mask&f.Value&(1<<bit) != 0 {
			parts = append(parts, name)
		}
	}
	for bit, name := range tcpFlagNames {
		if f.Mask&^f.Value&(1<<bit) != 0 {
			parts = append(parts, "!"+name)
		}
	}
	return strings.Join(parts, "+")
}

// ParseTCPFlags reads flags in any order. An empty text, an unknown flag and a
// flag that is named twice are errors.
func ParseTCPFlags(s string) (TCPFlags, error) {
	var f TCPFlags
	for part := range strings.SplitSeq(s, "+") {
		name, not := strings.CutPrefix(part, "!")
		bit := uint8(0)
		for i, n := range tcpFlagNames {
			if n == name {
				bit = 1 << i
			}
		}
		switch {
		case bit == 0:
			return TCPFlags{}, schemas.Refuse(schemas.FaultField, "tcp_flags %q: %q is no flag, want for example syn+!ack", s, part)
		case f.Mask&bit != 0:
			return TCPFlags{}, schemas.Refuse(schemas.FaultField, "tcp_flags %q: %s is named twice", s, name)
		}
		f.Mask |= bit
		if !not {
			f.Value |= bit
		}
	}
	return f, nil
}
