package events

import "github.com/weir-net/weir/schemas"

// Version is the v of this record.
const Version = 1

// What the codec takes at most.
const (
	MaxValueBytes = 64 << 10
	MaxReason     = 1024 // bytes, cut by Encode
	MaxKey        = 256  // bytes, cut by Encode
)

// Encode returns the value of r, whose V it sets. Reason and Key are made
// printable and cut, since they quote what others wrote. The error is a
// *schemas.RecordError.
func Encode(r Record) ([]byte, error) {
	r.V = Version
	r.Reason = schemas.Printable(r.Reason, MaxReason)
	r.Key = schemas.Printable(r.Key, MaxKey)
	if err := check(&r); err != nil {
		return nil, err
	}
	return schemas.EncodeJSON("event", r, MaxValueBytes)
}

// Decode is the inverse of Encode. The error is a *schemas.RecordError.
func Decode(value []byte) (Record, error) {
	var r Record
	if err := schemas.DecodeJSON("event", value, MaxValueBytes, Version, &r); err != nil {
		return Record{}, err
	}
	if err := check(&r); err != nil {
		return Record{}, err
	}
	return r, nil
}

// RecordKey returns the key of an event on its topic: the host it concerns,
// else the topic of the record it is about, else the service.
func (r *Record) RecordKey() string {
	switch {
	case r.Host != "":
		return r.Host
	case r.Topic != "":
		return r.Topic
	}
	return r.Service
}

// check leaves kinds open, so that an older reader shows the events of a newer
// writer.
func check(r *Record) error {
	switch r.Severity {
	case Info, Warning, Error:
	default:
		return schemas.Refuse(schemas.FaultField, "severity %q: want info, warning or error", r.Severity)
	}
	if r.Service == "" || r.Kind == "" {
		return schemas.Refuse(schemas.FaultField, "service %q, kind %q: neither may be empty", r.Service, r.Kind)
	}
	return nil
}
