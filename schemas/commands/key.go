package commands

import (
	"strings"

	"github.com/weir-net/weir/schemas"
)

// modeWord stands where a lease's key has its match.
const modeWord = "mode"

// MaxKeyBytes bounds a key: a target of two names, a full match and an issuer.
const MaxKeyBytes = 1024

// Key is a parsed key: <target>|<match>|<issuer>, or <target>|mode|<issuer>.
type Key struct {
	Target schemas.Target
	Mode   bool  // a mode command's key; Match is then zero
	Match  Match // of a lease
	Issuer string
}

// String returns the canonical text.
func (k Key) String() string {
	match := modeWord
	if !k.Mode {
		match = k.Match.String()
	}
	return k.Target.String() + "|" + match + "|" + k.Issuer
}

// ParseKey parses the canonical text; any other spelling is an error, so that
// two texts never mean one lease.
func ParseKey(key []byte) (Key, error) {
	if len(key) == 0 {
		return Key{}, schemas.Refuse(schemas.FaultKey, "the record has no key, want <target>|<match>|<issuer>")
	}
	if len(key) > MaxKeyBytes {
		return Key{}, schemas.Refuse(schemas.FaultTooLarge, "key has %d bytes, at most %d", len(key), MaxKeyBytes)
	}
	s := string(key)
	target, rest, ok1 := strings.Cut(s, "|")
	match, issuer, ok2 := strings.Cut(rest, "|")
	if !ok1 || !ok2 {
		return Key{}, schemas.Refuse(schemas.FaultKey, "key %q: want <target>|<match>|<issuer>", s)
	}
	k := Key{Issuer: issuer}
	var err error
	if k.Target, err = schemas.ParseTarget(target); err != nil {
		return Key{}, schemas.Refuse(schemas.FaultKey, "key %q: %v", s, err)
	}
	if err = CheckIssuer(issuer); err != nil {
		return Key{}, schemas.Refuse(schemas.FaultKey, "key %q: %v", s, err)
	}
	if match == modeWord {
		k.Mode = true
		return k, nil
	}
	if k.Match, err = ParseMatch(match); err != nil {
		return Key{}, schemas.Refuse(schemas.FaultKey, "key %q: %v", s, err)
	}
	return k, nil
}

// CheckIssuer reports why s cannot be an issuer: it must be 1 to 64 characters
// of A-Z, a-z, 0-9, '.', '_', '@' and '-'.
func CheckIssuer(s string) error {
	if s == "" || len(s) > 64 {
		return schemas.Refuse(schemas.FaultField, "issuer %q: want 1 to 64 characters", s)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '@', c == '-':
		default:
			return schemas.Refuse(schemas.FaultField, "issuer %q has the character %q, want A-Z a-z 0-9 . _ @ -", s, c)
		}
	}
	return nil
}
