package commands

import (
	"bytes"
	"encoding/json"

	"github.com/weir-net/weir/schemas"
)

// members calls fn with each member of the JSON object b, which must be valid
// JSON, in order. Names are exact, unlike encoding/json's, which also takes
// "ACTION" for "action", and a name that comes twice is an error, since readers
// would disagree about which one counts. It is several times faster than a
// map, and a probe replays a million of these at its start.
func members(b []byte, fn func(name string, value json.RawMessage) error) error {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return schemas.Refuse(schemas.FaultSyntax, "want a JSON object")
	}
	var seen [16]string
	names := seen[:0]
	i := skipSpace(b, 1)
	for b[i] != '}' {
		end := scanValue(b, i)
		name, err := unquote(b[i:end])
		if err != nil {
			return err
		}
		for _, n := range names {
			if n == name {
				return schemas.Refuse(schemas.FaultSyntax, "the field %q comes twice", name)
			}
		}
		if len(names) == maxMembers {
			return schemas.Refuse(schemas.FaultTooLarge, "more than %d fields", maxMembers)
		}
		names = append(names, name)
		i = skipSpace(b, skipSpace(b, end)+1) // over the colon
		end = scanValue(b, i)
		if err := fn(name, json.RawMessage(b[i:end:end])); err != nil {
			return err
		}
		i = skipSpace(b, end)
		if b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	return nil
}

// maxMembers bounds the quadratic search for names that come twice.
const maxMembers = 64

func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\r' || b[i] == '\n' {
		i++
	}
	return i
}

// scanValue returns the end of the value that starts at b[i], within an object
// that is valid JSON.
func scanValue(b []byte, i int) int {
	depth := 0
	for {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // the object's own end closes a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
		i++
	}
}

// unquote reads a JSON string.
func unquote(v json.RawMessage) (string, error) {
	if len(v) >= 2 && v[0] == '"' && bytes.IndexByte(v, '\\') < 0 && isASCII(v) {
		return string(v[1 : len(v)-1]), nil
	}
	var s string
	if len(v) == 0 || v[0] != '"' || json.Unmarshal(v, &s) != nil {
		return "", schemas.Refuse(schemas.FaultSyntax, "%s is not a string", schemas.Printable(string(v), 64))
	}
	return s, nil
}

func isASCII(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}
