package commands

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
)

// Version is the v of this record.
const Version = 1

// Limits and defaults of a command.
const (
	MaxValueBytes = 64 << 10
	MaxReason     = 1024 // bytes
	MinTTL        = time.Second
	MaxTTL        = 24 * time.Hour
	DefaultTTL    = 10 * time.Minute // of a lease whose value has none
)

// IsTombstone reports whether a record with this value releases its key. An
// empty value counts as well as a null one: kcat without -Z writes "" where a
// person meant null. Only a null one lets the broker compact the key away.
func IsTombstone(value []byte) bool { return len(value) == 0 }

// Key returns the canonical key of c.
func (c *Command) Key() string { return c.key().String() }

func (c *Command) key() Key {
	return Key{Target: c.Target, Mode: c.Action == SetMode, Match: c.Match, Issuer: c.Issuer}
}

// Decode reads one record. It is lenient where a person writes and strict where
// a mistake would block the wrong thing:
//   - only "action" is required: v defaults to 1, ttl to 10 minutes (a mode's
//     to for good), match and issuer to those of the key;
//   - a match or an issuer in the value must agree with the key, in any
//     spelling of the match;
//   - ttl is a Go duration ("90s", "1h30m") or a number of seconds;
//   - unknown fields are kept in Extra, but an unknown field of match is
//     refused, since it narrows.
//
// The value must not be a tombstone (see IsTombstone). The error is a
// *schemas.RecordError.
func Decode(key, value []byte) (Command, error) {
	k, err := ParseKey(key)
	if err != nil {
		return Command{}, err
	}
	return k.Decode(value)
}

// Decode reads the value under a key that has been parsed already, see the
// function of this name.
func (k Key) Decode(value []byte) (Command, error) {
	if len(value) > MaxValueBytes {
		return Command{}, schemas.Refuse(schemas.FaultTooLarge, "value has %d bytes, at most %d", len(value), MaxValueBytes)
	}
	c := Command{Target: k.Target, Match: k.Match, Issuer: k.Issuer}
	if k.Mode || !c.scan(value) {
		var err error
		if c, err = decodeAny(k, value); err != nil {
			return Command{}, err
		}
	}
	if err := c.Check(); err != nil {
		return Command{}, err
	}
	if k.Mode != (c.Action == SetMode) {
		return Command{}, schemas.Refuse(schemas.FaultMismatch, "action %q under the key %q", c.Action, k)
	}
	return c, nil
}

// decodeAny reads whatever may be in a value.
func decodeAny(k Key, value []byte) (Command, error) {
	if !json.Valid(value) {
		return Command{}, schemas.Refuse(schemas.FaultSyntax, "the value is not JSON")
	}
	d := decoder{c: Command{Target: k.Target, Match: k.Match, Issuer: k.Issuer}, key: k}
	if err := members(value, d.member); err != nil {
		return Command{}, err
	}
	if !d.hasTTL && d.c.Action != SetMode {
		d.c.TTL = DefaultTTL
	}
	return d.c, nil
}

// Check reports why c is not a valid command.
func (c *Command) Check() error {
	if err := CheckIssuer(c.Issuer); err != nil {
		return err
	}
	if len(c.Reason) > MaxReason {
		return schemas.Refuse(schemas.FaultTooLarge, "reason has %d bytes, at most %d", len(c.Reason), MaxReason)
	}
	switch c.Action {
	case SetMode:
		return c.checkMode()
	case Drop, RateLimit, Observe, Allow:
	case "":
		return schemas.Refuse(schemas.FaultField, "action is missing, want drop, rate-limit, observe, allow or mode")
	default:
		return schemas.Refuse(schemas.FaultField, "unknown action %q, want drop, rate-limit, observe, allow or mode", c.Action)
	}
	if err := c.Match.Check(); err != nil {
		return err
	}
	switch {
	case c.Mode != "":
		return schemas.Refuse(schemas.FaultField, "mode belongs to action mode, not to %s", c.Action)
	case c.TTL < MinTTL || c.TTL > MaxTTL:
		return schemas.Refuse(schemas.FaultField, "ttl is %s, want %s to %s", schemas.FormatDuration(c.TTL), schemas.FormatDuration(MinTTL), schemas.FormatDuration(MaxTTL))
	case c.Action == RateLimit && (c.Rate == nil || c.Rate.PPS == 0 && c.Rate.BPS == 0):
		return schemas.Refuse(schemas.FaultField, "action rate-limit needs a rate with pps, bps or both")
	case c.Action != RateLimit && c.Rate != nil:
		return schemas.Refuse(schemas.FaultField, "rate belongs to action rate-limit, not to %s", c.Action)
	case c.Rate != nil && (c.Rate.PPS > maxRate || c.Rate.BPS > maxRate):
		return schemas.Refuse(schemas.FaultField, "rate is beyond %d", uint64(maxRate))
	}
	return nil
}

// maxRate keeps a token bucket's arithmetic in 64 bits: 1 Tbit/s.
const maxRate = 1_000_000_000_000

func (c *Command) checkMode() error {
	switch c.Mode {
	case ModeEnforce, ModeObserve, ModeOff:
	default:
		return schemas.Refuse(schemas.FaultField, "unknown mode %q, want enforce, observe or off", c.Mode)
	}
	switch {
	case c.Match != (Match{}):
		return schemas.Refuse(schemas.FaultField, "action mode takes no match")
	case c.Rate != nil:
		return schemas.Refuse(schemas.FaultField, "action mode takes no rate")
	case c.TTL != 0 && (c.TTL < MinTTL || c.TTL > MaxTTL):
		return schemas.Refuse(schemas.FaultField, "ttl is %s, want none or %s to %s", schemas.FormatDuration(c.TTL), schemas.FormatDuration(MinTTL), schemas.FormatDuration(MaxTTL))
	}
	return nil
}

// decoder gathers a command from the members of its value.
type decoder struct {
	c      Command
	key    Key
	hasTTL bool
}

func (d *decoder) member(name string, v json.RawMessage) (err error) {
	null := string(v) == "null"
	var s string
	switch name {
	case "v":
		if n, bad := strconv.Atoi(string(v)); bad != nil || n != Version {
			return schemas.Refuse(schemas.FaultVersion, "v is %s, want %d", schemas.Printable(string(v), 32), Version)
		}
	case "action":
		s, err = unquote(v)
		d.c.Action = Action(s)
	case "mode":
		if !null {
			s, err = unquote(v)
			d.c.Mode = Mode(s)
		}
	case "match":
		if !null {
			err = d.match(v)
		}
	case "ttl":
		if !null {
			d.hasTTL = true
			d.c.TTL, err = parseTTL(v)
		}
	case "issuer":
		if !null {
			if s, err = unquote(v); err == nil && s != d.key.Issuer {
				err = schemas.Refuse(schemas.FaultMismatch, "issuer %q, but the key says %q", s, d.key.Issuer)
			}
		}
	case "reason":
		if !null {
			d.c.Reason, err = unquote(v)
		}
	case "rate":
		if !null {
			d.c.Rate = new(Rate)
			err = strictly(name, v, d.c.Rate)
		}
	case "evidence":
		if !null {
			d.c.Evidence = new(Evidence)
			err = strictly(name, v, d.c.Evidence)
		}
	default:
		if d.c.Extra == nil {
			d.c.Extra = make(map[string]json.RawMessage)
		}
		d.c.Extra[name] = bytes.Clone(v)
	}
	if err != nil {
		return in(name, err)
	}
	return nil
}

// in puts the field's name before a reason that does not have it.
func in(name string, err error) error {
	var re *schemas.RecordError
	if errors.As(err, &re) && !strings.Contains(re.Reason, name) {
		return schemas.Refuse(re.Fault, "%s: %s", name, re.Reason)
	}
	return err
}

// match compares the value's match with the key's.
func (d *decoder) match(v json.RawMessage) error {
	var m Match
	err := members(v, func(name string, v json.RawMessage) error {
		switch string(v) {
		case "null", `""`, "0":
			return nil // as good as absent, of whatever field
		}
		text := string(v)
		if v[0] == '"' {
			var err error
			if text, err = unquote(v); err != nil {
				return err
			}
		}
		return m.set(name, text)
	})
	if err != nil {
		return err
	}
	if m == (Match{}) && d.key.Mode {
		return nil
	}
	if d.key.Mode || m != d.key.Match {
		return schemas.Refuse(schemas.FaultMismatch, "match is %q, but the key says %q", m, d.keyMatch())
	}
	return nil
}

func (d *decoder) keyMatch() string {
	if d.key.Mode {
		return modeWord
	}
	return d.key.Match.String()
}

func parseTTL(v json.RawMessage) (time.Duration, error) {
	if v[0] != '"' {
		seconds, err := strconv.ParseFloat(string(v), 64)
		if err != nil || !(seconds >= 0 && seconds <= MaxTTL.Seconds()) {
			return 0, schemas.Refuse(schemas.FaultField, "ttl %s: want a duration such as \"10m\", or seconds, up to 24h", schemas.Printable(string(v), 32))
		}
		return time.Duration(seconds * float64(time.Second)), nil
	}
	s, err := unquote(v)
	if err != nil {
		return 0, err
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, schemas.Refuse(schemas.FaultField, "ttl %q: want a duration such as \"10m\"", s)
	}
	return d, nil
}

// strictly reads a JSON object with encoding/json.
func strictly(name string, v json.RawMessage, into any) error {
	if v[0] != '{' {
		return schemas.Refuse(schemas.FaultSyntax, "%s is not an object", name)
	}
	if err := json.Unmarshal(v, into); err != nil {
		return schemas.Refuse(schemas.FaultSyntax, "%s: %v", name, err)
	}
	return nil
}
