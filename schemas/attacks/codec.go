package attacks

import (
	"math"
	"net/netip"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// Version is the v of this record.
const Version = 1

// What the codec takes at most.
const (
	MaxValueBytes = 64 << 10
	MaxTop        = 16  // leases in Top
	MaxVector     = 128 // bytes, cut by Encode
)

// startFormat is how a key names the start: UTC, to the millisecond.
const startFormat = "2006-01-02T15:04:05.000Z"

// Identity is what tells an attack from others that go on at the same time.
type Identity struct {
	Host, Interface string
	Rule            string
	Destination     netip.Addr // invalid: none
}

// String returns the first two parts of a key:
// "<host>/<ifname>|<rule>[@<destination>]".
func (i Identity) String() string {
	s := schemas.InterfaceKey(i.Host, i.Interface) + "|" + i.Rule
	if i.Destination.IsValid() {
		s += "@" + i.Destination.String()
	}
	return s
}

// Identity returns what tells the attack from others of its time.
func (r *Record) Identity() Identity {
	return Identity{Host: r.Host, Interface: r.Interface, Rule: r.Rule, Destination: r.Destination}
}

// Key returns the record's key,
// "<host>/<ifname>|<rule>[@<destination>]|<start>".
func (r *Record) Key() string {
	return r.Identity().String() + "|" + r.Start.UTC().Format(startFormat)
}

// ParseKey splits a key made by Key. The error is a *schemas.RecordError with
// FaultKey.
func ParseKey(key string) (Identity, time.Time, error) {
	var id Identity
	parts := strings.Split(key, "|")
	if len(parts) != 3 {
		return id, time.Time{}, schemas.Refuse(schemas.FaultKey, "key %q: want <host>/<ifname>|<rule>[@<destination>]|<start>", key)
	}
	var err error
	if id.Host, id.Interface, err = schemas.ParseInterfaceKey(parts[0]); err != nil {
		return id, time.Time{}, err
	}
	rule, destination, found := strings.Cut(parts[1], "@")
	id.Rule = rule
	if found {
		if id.Destination, err = netip.ParseAddr(destination); err != nil {
			return id, time.Time{}, schemas.Refuse(schemas.FaultKey, "key %q: %q is no address", key, destination)
		}
	}
	if err := CheckRule(rule); err != nil {
		return id, time.Time{}, schemas.Refuse(schemas.FaultKey, "key %q: %v", key, err)
	}
	start, err := time.Parse(startFormat, parts[2])
	if err != nil || id.String()+"|"+start.Format(startFormat) != key {
		return id, time.Time{}, schemas.Refuse(schemas.FaultKey, "key %q: want the start as %s, and one spelling", key, startFormat)
	}
	return id, start, nil
}

// CheckRule reports why s cannot be a rule in a key: it must be a name (see
// schemas.CheckName) without '@'.
func CheckRule(s string) error {
	if err := schemas.CheckName(s); err != nil {
		return schemas.Refuse(schemas.FaultField, "rule: %v", err)
	}
	if strings.Contains(s, "@") {
		return schemas.Refuse(schemas.FaultField, "rule %q has the character '@'", s)
	}
	return nil
}

// Encode returns the key and the value of r, whose V it sets. Vector is made
// printable and cut. Times are written to the millisecond. The error is a
// *schemas.RecordError.
func Encode(r Record) (key, value []byte, err error) {
	r.V = Version
	r.Vector = schemas.Printable(r.Vector, MaxVector)
	r.Start, r.UpdatedAt = millis(r.Start), millis(r.UpdatedAt)
	if r.Ended() {
		r.End = millis(r.End)
	}
	if r.Top == nil {
		r.Top = []Lease{}
	}
	if err := check(&r); err != nil {
		return nil, nil, err
	}
	value, err = schemas.EncodeJSON("attack", r, MaxValueBytes)
	return []byte(r.Key()), value, err
}

// millis is what a record says of a time.
func millis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }

// Decode is the inverse of Encode: key and value must agree. The error is a
// *schemas.RecordError.
func Decode(key, value []byte) (Record, error) {
	var r Record
	if err := schemas.DecodeJSON("attack", value, MaxValueBytes, Version, &r); err != nil {
		return Record{}, err
	}
	if err := check(&r); err != nil {
		return Record{}, err
	}
	if k := r.Key(); k != string(key) {
		return Record{}, schemas.Refuse(schemas.FaultMismatch, "the key is %q, the value is of %q", schemas.Printable(string(key), 256), k)
	}
	return r, nil
}

func check(r *Record) error {
	if err := schemas.CheckName(r.Host); err != nil {
		return schemas.Refuse(schemas.FaultField, "host: %v", err)
	}
	if err := schemas.CheckName(r.Interface); err != nil {
		return schemas.Refuse(schemas.FaultField, "interface: %v", err)
	}
	if err := CheckRule(r.Rule); err != nil {
		return err
	}
	switch {
	case r.Destination.Zone() != "" || r.Destination.Is4In6():
		return schemas.Refuse(schemas.FaultField, "destination %v: want a plain address", r.Destination)
	case r.Start.IsZero() || r.Start.Year() < 1970 || r.Start.Year() > 9999:
		return schemas.Refuse(schemas.FaultField, "start is %v", r.Start)
	case r.Ended() && r.End.Before(r.Start):
		return schemas.Refuse(schemas.FaultField, "end %v is before start %v", r.End, r.Start)
	case !isRate(r.PeakPPS) || !isRate(r.PeakBPS):
		return schemas.Refuse(schemas.FaultField, "a peak is %v or %v", r.PeakPPS, r.PeakBPS)
	case r.Leases < 0:
		return schemas.Refuse(schemas.FaultField, "leases is %d", r.Leases)
	case len(r.Top) > MaxTop:
		return schemas.Refuse(schemas.FaultTooLarge, "%d leases in top_leases, at most %d", len(r.Top), MaxTop)
	}
	switch r.Action {
	case commands.Drop, commands.RateLimit, commands.Observe:
	default:
		return schemas.Refuse(schemas.FaultField, "action %q: want drop, rate-limit or observe", r.Action)
	}
	for i := range r.Top {
		if n := len(r.Top[i].Key); n == 0 || n > commands.MaxKeyBytes {
			return schemas.Refuse(schemas.FaultField, "top_leases: a key of %d bytes", n)
		}
	}
	return nil
}

func isRate(f float64) bool { return f >= 0 && !math.IsInf(f, 0) }
