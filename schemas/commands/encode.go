package commands

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/weir-net/weir/schemas"
)

// wire is the order of fields in an encoded value.
type wire struct {
	V        int        `json:"v"`
	Action   Action     `json:"action"`
	Mode     Mode       `json:"mode,omitempty"`
	Match    *wireMatch `json:"match,omitempty"`
	TTL      string     `json:"ttl,omitempty"`
	Issuer   string     `json:"issuer"`
	Reason   string     `json:"reason,omitempty"`
	Rate     *Rate      `json:"rate,omitempty"`
	Evidence *Evidence  `json:"evidence,omitempty"`
}

type wireMatch struct {
	Source          string `json:"source,omitempty"`
	Destination     string `json:"destination,omitempty"`
	Protocol        string `json:"protocol,omitempty"`
	SourcePort      uint16 `json:"source_port,omitempty"`
	DestinationPort uint16 `json:"destination_port,omitempty"`
	TCPFlags        string `json:"tcp_flags,omitempty"`
	Fragments       string `json:"fragments,omitempty"`
}

// Encode returns the canonical key and the value of c, the members of Extra
// last. The error is a *schemas.RecordError.
func Encode(c Command) (key, value []byte, err error) {
	if err := c.Check(); err != nil {
		return nil, nil, err
	}
	w := wire{V: Version, Action: c.Action, Mode: c.Mode, Issuer: c.Issuer, Reason: c.Reason, Rate: c.Rate, Evidence: c.Evidence}
	if c.TTL != 0 {
		w.TTL = schemas.FormatDuration(c.TTL)
	}
	if c.Action != SetMode {
		w.Match = matchToWire(c.Match)
	}
	if value, err = schemas.EncodeJSON("command", w, MaxValueBytes); err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(c.Extra)) {
		if isField(name) {
			return nil, nil, schemas.Refuse(schemas.FaultField, "the extra field %q is not extra", name)
		}
		if !json.Valid(c.Extra[name]) {
			return nil, nil, schemas.Refuse(schemas.FaultSyntax, "the extra field %q is not JSON", name)
		}
		quoted, err := json.Marshal(name)
		if err != nil {
			return nil, nil, schemas.Refuse(schemas.FaultSyntax, "encoding a command: %v", err)
		}
		value = append(value[:len(value)-1], ',')
		value = append(append(append(value, quoted...), ':'), c.Extra[name]...)
		value = append(value, '}')
	}
	if len(value) > MaxValueBytes {
		return nil, nil, schemas.Refuse(schemas.FaultTooLarge, "value has %d bytes, at most %d", len(value), MaxValueBytes)
	}
	return []byte(c.Key()), value, nil
}

func matchToWire(m Match) *wireMatch {
	w := &wireMatch{SourcePort: m.SourcePort, DestinationPort: m.DestinationPort, TCPFlags: m.TCPFlags.String()}
	if m.Source.IsValid() {
		w.Source = m.Source.String()
	}
	if m.Destination.IsValid() {
		w.Destination = m.Destination.String()
	}
	if m.Protocol != 0 {
		w.Protocol = schemas.FormatProtocol(m.Protocol)
	}
	if m.Fragments {
		w.Fragments = laterFragments
	}
	return w
}

// isField reports whether name is a field of the value.
func isField(name string) bool {
	switch name {
	case "v", "action", "mode", "match", "ttl", "issuer", "reason", "rate", "evidence":
		return true
	}
	return false
}
