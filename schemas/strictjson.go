package schemas

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// DecodeJSON reads value into out as the JSON codecs do: at most limit bytes,
// an object, "v" equal to version, unknown fields ignored. name is the record's
// name for the reason.
func DecodeJSON(name string, value []byte, limit, version int, out any) error {
	if len(value) > limit {
		return Refuse(FaultTooLarge, "%s has %d bytes, at most %d", name, len(value), limit)
	}
	if b := bytes.TrimLeft(value, " \t\r\n"); len(b) == 0 || b[0] != '{' {
		return Refuse(FaultSyntax, "%s is not a JSON object", name)
	}
	if startsWith(value, version) {
		if err := json.Unmarshal(value, out); err != nil {
			return Refuse(FaultSyntax, "%s: %v", name, err)
		}
		return nil
	}
	var head struct {
		V *int `json:"v"`
	}
	if err := json.Unmarshal(value, &head); err != nil {
		return Refuse(FaultSyntax, "%s: %v", name, err)
	}
	if head.V == nil {
		return Refuse(FaultVersion, "%s has no v, want %d", name, version)
	}
	if *head.V != version {
		return Refuse(FaultVersion, "%s has v=%d, want %d", name, *head.V, version)
	}
	if err := json.Unmarshal(value, out); err != nil {
		return Refuse(FaultSyntax, "%s: %v", name, err)
	}
	return nil
}

// startsWith reports whether an object begins with this version, as those that
// EncodeJSON writes do, and mentions no other: then it need not be read twice.
func startsWith(value []byte, version int) bool {
	const field = `{"v":`
	rest, ok := bytes.CutPrefix(value, []byte(field))
	if !ok {
		return false
	}
	rest, ok = bytes.CutPrefix(rest, strconv.AppendInt(nil, int64(version), 10))
	return ok && len(rest) > 0 && (rest[0] == ',' || rest[0] == '}') && !mentionsVersion(rest)
}

// mentionsVersion is also true of an escaped name, and of a text that looks like
// one: that costs the second reading and nothing else.
func mentionsVersion(rest []byte) bool {
	return bytes.Contains(rest, []byte(`"v"`)) || bytes.Contains(rest, []byte(`"V"`)) || bytes.Contains(rest, []byte(`\u`))
}

// EncodeJSON writes in as DecodeJSON reads it, at most limit bytes.
func EncodeJSON(name string, in any, limit int) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false) // people read these values
	if err := e.Encode(in); err != nil {
		return nil, Refuse(FaultSyntax, "encoding %s: %v", name, err)
	}
	b := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	if len(b) > limit {
		return nil, Refuse(FaultTooLarge, "%s has %d bytes, at most %d", name, len(b), limit)
	}
	return b, nil
}
