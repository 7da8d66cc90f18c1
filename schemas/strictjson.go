package schemas

import (
	"bytes"
	"encoding/json"
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
