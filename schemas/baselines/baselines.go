// Package baselines is the record of weir.baselines.v1: what one interface
// receives when nothing is wrong, as the policy has learned it. The topic is
// compacted, and the policy's memory: an instance that starts, or takes an
// interface over, goes on from it.
package baselines

import (
	"math"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
)

// Version is the v of this record.
const Version = 1

// What the codec takes at most.
const (
	MaxValueBytes = 32 << 10
	// Buckets are half octaves of packets per second: bucket 0 is less than one,
	// bucket i from 2^((i-1)/2) to 2^(i/2), the last one everything above.
	Buckets = 42
	// FilterBytes is the size of a Bloom filter of sources.
	FilterBytes = 1024
)

// Class is what is usual of one class of packets.
type Class struct {
	Average float64  `json:"average_pps"` // exponentially weighted, packets per second
	Seconds []uint16 `json:"seconds"`     // how many quiet seconds fell into each bucket; those after the last are 0
}

// Sources remember who sent anything in quiet times, as Bloom filters in which
// each address sets four bits at most. Nobody can list addresses from them.
type Sources struct {
	Since   time.Time `json:"since"`             // when Current began
	Current []byte    `json:"current,omitempty"` // of at most half an hour, FilterBytes or empty
	Before  []byte    `json:"before,omitempty"`  // of the half hour before
}

// Record is one value of the topic.
type Record struct {
	V         int              `json:"v"`
	Host      string           `json:"host"`
	Interface string           `json:"interface"`
	UpdatedAt time.Time        `json:"updated_at"`
	Quiet     uint64           `json:"quiet_seconds"` // that have been learned from
	Classes   map[string]Class `json:"classes"`       // by name, see schemas.Class
	Sources   *Sources         `json:"sources,omitempty"`
}

// Key returns the record's key, "<host>/<ifname>".
func (r *Record) Key() string { return schemas.InterfaceKey(r.Host, r.Interface) }

// Encode returns the key and the value of r, whose V it sets. Times are written
// to the millisecond. The error is a *schemas.RecordError.
func Encode(r Record) (key, value []byte, err error) {
	r.V, r.UpdatedAt = Version, r.UpdatedAt.UTC().Truncate(time.Millisecond)
	if s := r.Sources; s != nil {
		r.Sources = &Sources{Since: s.Since.UTC().Truncate(time.Millisecond), Current: s.Current, Before: s.Before}
	}
	if err := check(&r); err != nil {
		return nil, nil, err
	}
	value, err = schemas.EncodeJSON("baseline", r, MaxValueBytes)
	return []byte(r.Key()), value, err
}

// Decode is the inverse of Encode: key and value must agree. The error is a
// *schemas.RecordError.
func Decode(key, value []byte) (Record, error) {
	var r Record
	if err := schemas.DecodeJSON("baseline", value, MaxValueBytes, Version, &r); err != nil {
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
	// The seconds are a duration to whoever reads them.
	if r.Quiet > uint64(math.MaxInt64/time.Second) {
		return schemas.Refuse(schemas.FaultField, "quiet_seconds is %d", r.Quiet)
	}
	for name, c := range r.Classes {
		if _, ok := schemas.ParseClass(name); !ok {
			return schemas.Refuse(schemas.FaultField, "classes: %q is no class", schemas.Printable(name, 32))
		}
		switch {
		case c.Average < 0 || math.IsInf(c.Average, 0):
			return schemas.Refuse(schemas.FaultField, "classes: %s: average_pps is %v", name, c.Average)
		case len(c.Seconds) > Buckets:
			return schemas.Refuse(schemas.FaultTooLarge, "classes: %s: %d buckets, at most %d", name, len(c.Seconds), Buckets)
		}
	}
	if s := r.Sources; s != nil {
		for _, f := range [][]byte{s.Current, s.Before} {
			if !slices.Contains([]int{0, FilterBytes}, len(f)) {
				return schemas.Refuse(schemas.FaultField, "sources: a filter of %d bytes, want %d", len(f), FilterBytes)
			}
		}
	}
	return nil
}
