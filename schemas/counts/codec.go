package counts

import (
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts/internal/countspb"
)

// Version is the v of this record.
const Version = 1

// What the codec takes at most. A record of 4,096 sources with every counter
// in use is about 400 KB.
const (
	MaxValueBytes = 1 << 20 // of one encoded record; a Kafka batch of the default size holds no more
	MaxSources    = 65_536  // in one record
	MaxTargets    = 4_096   // victims, and ports, in one record
	MaxVerdicts   = 256
	MaxChunks     = 65_536
	MaxSketch     = 1 << 16 // bytes of one sketch
	// MaxCount bounds every counter, so that sums of many records cannot
	// overflow and JSON can carry them exactly.
	MaxCount = 1 << 53
)

// Key returns the record's key, "<host>/<ifname>".
func (r *Record) Key() string { return schemas.InterfaceKey(r.Host, r.Interface) }

// Encode returns the value of r. Sources come back from Decode with the IPv4
// ones first. The error is a *schemas.RecordError.
func Encode(r Record) ([]byte, error) {
	var e Encoder
	return e.Append(nil, &r)
}

// Encoder encodes record after record with the same columns, for writers that
// publish hundreds of chunks per window. The zero value is ready. It is not
// safe for concurrent use.
type Encoder struct {
	sources columns
	pb      countspb.Sources
}

// Append appends the value of r to dst.
func (e *Encoder) Append(dst []byte, r *Record) ([]byte, error) {
	if err := check(r); err != nil {
		return dst, err
	}
	w := &countspb.Record{
		V: Version, Host: r.Host, Interface: r.Interface, Ifindex: r.Ifindex,
		Direction: r.Direction, BootId: r.BootID, Seq: r.Seq,
		WindowStartNs: r.WindowStart.UnixNano(), WindowEndNs: r.WindowEnd.UnixNano(),
		DurationNs: r.Duration.Nanoseconds(), Chunk: r.Chunk, Chunks: r.Chunks,
		Ipv6SourcePrefixLength: uint32(r.IPv6SourcePrefixLength), Truncated: r.Truncated,
	}
	if r.Totals != nil {
		w.Totals = totalsToWire(r.Totals)
		// What Decode would refuse must not be written.
		if _, err := totalsFromWire(w.Totals); err != nil {
			return dst, err
		}
	}
	if len(r.Sources) > 0 {
		if err := e.sources.fill(r.Sources); err != nil {
			return dst, err
		}
		e.sources.toWire(&e.pb)
		w.Sources = &e.pb
	}
	out, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(dst, w)
	if err != nil {
		return dst, schemas.Refuse(schemas.FaultSyntax, "encoding counts: %v", err)
	}
	if n := len(out) - len(dst); n > MaxValueBytes {
		return dst, schemas.Refuse(schemas.FaultTooLarge, "counts record has %d bytes, at most %d", n, MaxValueBytes)
	}
	return out, nil
}

// Decode is the inverse of Encode. It allocates at most a small multiple of
// len(value), never panics, ignores unknown fields, and returns a
// *schemas.RecordError for anything that it refuses.
func Decode(value []byte) (Record, error) {
	if len(value) > MaxValueBytes {
		return Record{}, schemas.Refuse(schemas.FaultTooLarge, "counts record has %d bytes, at most %d", len(value), MaxValueBytes)
	}
	r, ok := scan(value)
	if !ok {
		var err error
		if r, err = decodeAny(value); err != nil {
			return Record{}, err
		}
	}
	if err := check(&r); err != nil {
		return Record{}, err
	}
	return r, nil
}

// scan reads a value that an Encoder of this version wrote. It is false of any
// other, whatever is wrong with it.
func scan(value []byte) (r Record, ok bool) {
	s := scanner{b: value, end: len(value)}
	s.record(&r)
	return r, !s.bad
}

// decodeAny reads what anyone may have written.
func decodeAny(value []byte) (Record, error) {
	var w countspb.Record
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(value, &w); err != nil {
		return Record{}, schemas.Refuse(schemas.FaultSyntax, "not a counts record: %v", err)
	}
	if w.GetV() != Version {
		return Record{}, schemas.Refuse(schemas.FaultVersion, "counts record has v=%d, want %d", w.GetV(), Version)
	}
	if w.GetIpv6SourcePrefixLength() > 128 {
		return Record{}, schemas.Refuse(schemas.FaultField, "ipv6_source_prefix_length is %d", w.GetIpv6SourcePrefixLength())
	}
	r := Record{
		Host: w.GetHost(), Interface: w.GetInterface(), Ifindex: w.GetIfindex(),
		Direction: w.GetDirection(), BootID: w.GetBootId(), Seq: w.GetSeq(),
		WindowStart: time.Unix(0, w.GetWindowStartNs()).UTC(), WindowEnd: time.Unix(0, w.GetWindowEndNs()).UTC(),
		Duration: time.Duration(w.GetDurationNs()), Chunk: w.GetChunk(), Chunks: w.GetChunks(),
		IPv6SourcePrefixLength: uint8(w.GetIpv6SourcePrefixLength()), Truncated: w.GetTruncated(),
	}
	var err error
	if t := w.GetTotals(); t != nil {
		if r.Totals, err = totalsFromWire(t); err != nil {
			return Record{}, err
		}
	}
	if s := w.GetSources(); s != nil {
		if r.Sources, err = sourcesFromWire(s); err != nil {
			return Record{}, err
		}
	}
	return r, nil
}

// check holds for every record, written or read.
func check(r *Record) error {
	if err := schemas.CheckName(r.Host); err != nil {
		return schemas.Refuse(schemas.FaultField, "host: %v", err)
	}
	if err := schemas.CheckName(r.Interface); err != nil {
		return schemas.Refuse(schemas.FaultField, "interface: %v", err)
	}
	if err := schemas.CheckName(r.BootID); err != nil {
		return schemas.Refuse(schemas.FaultField, "boot_id: %v", err)
	}
	switch {
	case r.Direction != "" && r.Direction != "ingress" && r.Direction != "egress":
		return schemas.Refuse(schemas.FaultField, "direction %q: want ingress or egress", r.Direction)
	case r.Seq == 0:
		return schemas.Refuse(schemas.FaultField, "seq is 0, the first window is 1")
	case r.WindowStart.Before(time.Unix(0, 0)) || r.WindowEnd.Before(r.WindowStart):
		return schemas.Refuse(schemas.FaultField, "window from %v to %v", r.WindowStart, r.WindowEnd)
	case r.Duration <= 0:
		return schemas.Refuse(schemas.FaultField, "duration is %v, want more than 0", r.Duration)
	case r.Chunks == 0 || r.Chunks > MaxChunks || r.Chunk >= r.Chunks:
		return schemas.Refuse(schemas.FaultField, "chunk %d of %d", r.Chunk, r.Chunks)
	case len(r.Sources) > MaxSources:
		return schemas.Refuse(schemas.FaultTooLarge, "%d sources in one record, at most %d", len(r.Sources), MaxSources)
	case (r.Chunk == 0) != (r.Totals != nil):
		return schemas.Refuse(schemas.FaultField, "totals belong to chunk 0 and to no other, this is chunk %d", r.Chunk)
	}
	return nil
}
