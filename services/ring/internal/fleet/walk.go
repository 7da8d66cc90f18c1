package fleet

import (
	"bytes"
	"strconv"
)

// object calls fn with each member of the JSON object in b. An object cut off
// behind a member, or before one, is taken as well. Anything that is not plain
// JSON, or a name with an escape, makes w failed.
func (w *walk) object(b []byte, fn func(name, value []byte)) {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != '{' && b[0] != ',' {
		w.failed = true
		return
	}
	for b = b[1:]; ; b = b[1:] {
		b = bytes.TrimLeft(b, " \t\r\n")
		if len(b) > 0 && b[0] == '}' {
			w.failed = w.failed || len(bytes.TrimLeft(b[1:], " \t\r\n")) > 0
			return
		}
		end := skip(b)
		if end < 2 || b[0] != '"' || bytes.IndexByte(b[:end], '\\') >= 0 {
			w.failed = true
			return
		}
		name := b[1 : end-1]
		b = bytes.TrimLeft(b[end:], " \t\r\n")
		if len(b) == 0 || b[0] != ':' {
			w.failed = true
			return
		}
		b = bytes.TrimLeft(b[1:], " \t\r\n")
		end = skip(b)
		if end == 0 {
			w.failed = true
			return
		}
		fn(name, b[:end])
		b = bytes.TrimLeft(b[end:], " \t\r\n")
		switch {
		case len(b) == 0:
			return // cut off
		case b[0] == '}':
			w.failed = w.failed || len(bytes.TrimLeft(b[1:], " \t\r\n")) > 0
			return
		case b[0] != ',':
			w.failed = true
			return
		}
	}
}

// skip returns the end of the JSON value that b begins with, 0 if it has none.
func skip(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if i >= len(b) {
				return 0
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of what is around
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n', ':':
			if depth == 0 {
				return i
			}
		}
	}
	if depth > 0 {
		return 0
	}
	return len(b)
}

func (w *walk) uint(v []byte) uint64 {
	n, err := strconv.ParseUint(string(v), 10, 64)
	w.failed = w.failed || err != nil
	return n
}

func (w *walk) float(v []byte) float64 {
	f, err := strconv.ParseFloat(string(v), 64)
	w.failed = w.failed || err != nil
	return f
}

func (w *walk) bool(v []byte) bool {
	w.failed = w.failed || string(v) != "true" && string(v) != "false"
	return string(v) == "true"
}

// text reads a string without escapes; one with any is left to encoding/json.
func (w *walk) text(v []byte) string {
	if len(v) < 2 || v[0] != '"' || bytes.IndexByte(v, '\\') >= 0 {
		w.failed = true
		return ""
	}
	return string(v[1 : len(v)-1])
}
