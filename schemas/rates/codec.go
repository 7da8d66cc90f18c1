package rates

import (
	"math"
	"time"

	"github.com/weir-net/weir/schemas"
)

// Version is the v of this record.
const Version = 1

// What the codec takes at most.
const (
	MaxValueBytes = 1 << 20
	MaxTop        = 256
	MaxTargets    = 256 // victims, and ports
)

// Key returns the record's key, "<host>/<ifname>".
func (r *Record) Key() string { return schemas.InterfaceKey(r.Host, r.Interface) }

// Encode returns the value of r. The error is a *schemas.RecordError.
func Encode(r Record) ([]byte, error) {
	if err := check(&r); err != nil {
		return nil, err
	}
	a := appender{b: make([]byte, 0, 1024+256*len(r.Top)+192*(len(r.Victims)+len(r.Ports)))}
	a.record(&r)
	switch {
	case a.err != nil:
		return nil, a.err
	case len(a.b) > MaxValueBytes:
		return nil, schemas.Refuse(schemas.FaultTooLarge, "rates has %d bytes, at most %d", len(a.b), MaxValueBytes)
	}
	return a.b, nil
}

// Decode is the inverse of Encode. The error is a *schemas.RecordError.
func Decode(value []byte) (Record, error) {
	var r Record
	if len(value) > MaxValueBytes || !scan(value, &r) {
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

// covered turns seconds into a duration, and refuses what no aggregator covers.
func covered(seconds float64) (time.Duration, bool) {
	return time.Duration(math.Round(seconds * float64(time.Second))), seconds >= 0 && seconds <= 86_400
}

// decodeAny reads what anyone may have written.
func decodeAny(value []byte) (Record, error) {
	var w wire
	if err := schemas.DecodeJSON("rates", value, MaxValueBytes, Version, &w); err != nil {
		return Record{}, err
	}
	span, ok := covered(w.Covered)
	if !ok {
		return Record{}, schemas.Refuse(schemas.FaultField, "covered_seconds is %v", w.Covered)
	}
	r := Record{
		Host: w.Host, Interface: w.Interface, BootID: w.BootID, Seq: w.Seq, Start: w.Start, End: w.End,
		PPS: w.PPS, BPS: w.BPS, DroppedPPS: w.DroppedPPS, PPSEWMA: w.PPSEWMA,
		Window1s: w.Window1s.counts(), Window10s: w.Window10s.counts(),
		Covered: span,
		NonIP1s: w.NonIP, Malformed1s: w.Malformed,
		Sources1s: w.Sources, Sources10s: w.Sources10s,
		SYNSources1s: w.SYNSources, SYNSources10s: w.SYNSources10s,
		SYNACKSources1s: w.SYNACKSources, SYNACKSources10s: w.SYNACKSources10s,
		Complete: w.Complete, Truncated: w.Truncated, LostWindows: w.LostWindows,
		Duplicates: w.Duplicates, Stale: w.Stale,
		Victims: targetsFromWire(w.Victims), Ports: targetsFromWire(w.Ports),
		EvidencePartition: w.EvidencePartition, EvidenceOffset: w.EvidenceOffset,
	}
	for _, s := range w.Top {
		r.Top = append(r.Top, Source{
			Source: s.Source, PPS: s.PPS, BPS: s.BPS, PortPairs: s.PortPairs,
			Window1s: s.Window1s.counts(), Window10s: s.Window10s.counts(),
		})
	}
	return r, nil
}

// spread divides PPS among the classes.
func spread(r *Record) classRates {
	of := func(class schemas.Class) float64 {
		if r.Window1s.Packets == 0 {
			return 0
		}
		rate := r.PPS * float64(r.Window1s.ByClass[class]) / float64(r.Window1s.Packets)
		return math.Round(rate*1000) / 1000
	}
	return classRates{
		FragLater: of(schemas.ClassFragLater), ICMP: of(schemas.ClassICMP), Other: of(schemas.ClassOther), RST: of(schemas.ClassRST),
		SYN: of(schemas.ClassSYN), SYNACK: of(schemas.ClassSYNACK), TCPOther: of(schemas.ClassTCPOther), UDP: of(schemas.ClassUDP),
	}
}

func check(r *Record) error {
	if err := schemas.CheckName(r.Host); err != nil {
		return schemas.Refuse(schemas.FaultField, "host: %v", err)
	}
	if err := schemas.CheckName(r.Interface); err != nil {
		return schemas.Refuse(schemas.FaultField, "interface: %v", err)
	}
	for _, f := range [...]float64{r.PPS, r.BPS, r.DroppedPPS, r.PPSEWMA} {
		if !isRate(f) {
			return schemas.Refuse(schemas.FaultField, "a rate is %v", f)
		}
	}
	switch {
	case r.BootID == "":
		return schemas.Refuse(schemas.FaultField, "boot_id is empty")
	case len(r.Top) > MaxTop:
		return schemas.Refuse(schemas.FaultTooLarge, "%d sources in top, at most %d", len(r.Top), MaxTop)
	case len(r.Victims) > MaxTargets || len(r.Ports) > MaxTargets:
		return schemas.Refuse(schemas.FaultTooLarge, "%d victims and %d ports, at most %d each", len(r.Victims), len(r.Ports), MaxTargets)
	case r.Covered < 0:
		return schemas.Refuse(schemas.FaultField, "covers %v", r.Covered)
	}
	for i := range r.Top {
		s := &r.Top[i]
		if !s.Source.IsValid() || s.Source.Zone() != "" {
			return schemas.Refuse(schemas.FaultField, "top: source %v", s.Source)
		}
		if !isRate(s.PPS) || !isRate(s.BPS) {
			return schemas.Refuse(schemas.FaultField, "top: source %v has rates %v and %v", s.Source, s.PPS, s.BPS)
		}
	}
	return nil
}

func isRate(f float64) bool { return f >= 0 && !math.IsInf(f, 0) }
