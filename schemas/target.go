package schemas

import (
	"fmt"
	"strings"
)

// TargetKind says what a Target names.
type TargetKind uint8

// The kinds, from the least to the most specific.
const (
	TargetAll TargetKind = iota
	TargetHost
	TargetInterface
)

// Target says which interfaces a record concerns: "*", "host:<host>" or
// "interface:<host>/<ifname>".
type Target struct {
	Kind      TargetKind
	Host      string
	Interface string
}

// ParseTarget parses the canonical text; any other spelling is an error.
func ParseTarget(s string) (Target, error) {
	if s == "*" {
		return Target{}, nil
	}
	if h, ok := strings.CutPrefix(s, "host:"); ok {
		if err := CheckName(h); err != nil {
			return Target{}, fmt.Errorf("target %q: host %w", s, err)
		}
		return Target{Kind: TargetHost, Host: h}, nil
	}
	if k, ok := strings.CutPrefix(s, "interface:"); ok {
		h, i, ok := strings.Cut(k, "/")
		if !ok {
			return Target{}, fmt.Errorf("target %q: want interface:<host>/<ifname>", s)
		}
		if err := CheckName(h); err != nil {
			return Target{}, fmt.Errorf("target %q: host %w", s, err)
		}
		if err := CheckName(i); err != nil {
			return Target{}, fmt.Errorf("target %q: interface %w", s, err)
		}
		return Target{Kind: TargetInterface, Host: h, Interface: i}, nil
	}
	return Target{}, fmt.Errorf(`target %q: want "*", "host:<host>" or "interface:<host>/<ifname>"`, s)
}

// String returns the canonical text.
func (t Target) String() string {
	switch t.Kind {
	case TargetHost:
		return "host:" + t.Host
	case TargetInterface:
		return "interface:" + t.Host + "/" + t.Interface
	default:
		return "*"
	}
}

// Matches reports whether the interface ifname of host is meant.
func (t Target) Matches(host, ifname string) bool {
	switch t.Kind {
	case TargetHost:
		return t.Host == host
	case TargetInterface:
		return t.Host == host && t.Interface == ifname
	default:
		return true
	}
}

// CheckName reports why s cannot be a host or an interface name in a key: it
// must be 1 to 253 bytes of printable ASCII without space, '/' and '|'.
func CheckName(s string) error {
	if s == "" {
		return fmt.Errorf("name is empty")
	}
	if len(s) > 253 {
		return fmt.Errorf("name is longer than 253 bytes")
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c > '~' || c == '/' || c == '|' {
			return fmt.Errorf("name has the character %q", c)
		}
	}
	return nil
}
