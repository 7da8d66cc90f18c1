package rates

import (
	"bytes"
	"math"
	"time"

	"github.com/weir-net/weir/schemas"
)

// scan reads a value that an appender of this version wrote. It is false of any
// other, whatever is wrong with it, and r is then of no use.
func scan(value []byte, r *Record) bool {
	s := scanner{value: value}
	s.record(r)
	return !s.bad && s.at == len(value)
}

func (s *scanner) record(r *Record) {
	s.refuse(s.uint(`{"v":`) == Version)
	r.Host = string(s.text(`,"host":`))
	r.Interface = string(s.text(`,"interface":`))
	r.BootID = string(s.text(`,"boot_id":`))
	r.Seq = s.uint(`,"seq":`)
	r.Start = s.time(`,"start":`)
	r.End = s.time(`,"end":`)
	r.PPS = s.float(`,"pps":`)
	r.BPS = s.float(`,"bps":`)
	r.DroppedPPS = s.float(`,"dropped_pps":`)
	r.PPSEWMA = s.float(`,"pps_ewma":`)
	s.float(`,"classes":{"frag_later":`)
	s.float(`,"icmp":`)
	s.float(`,"other":`)
	s.float(`,"rst":`)
	s.float(`,"syn":`)
	s.float(`,"synack":`)
	s.float(`,"tcp_other":`)
	s.float(`,"udp":`)
	r.Window1s = s.counts(`},"window_1s":`)
	r.Window10s = s.counts(`,"window_10s":`)
	r.Covered = s.seconds(`,"covered_seconds":`)
	r.NonIP1s = s.uint(`,"non_ip":`)
	r.Malformed1s = s.uint(`,"malformed":`)
	r.Sources1s = s.uint(`,"sources":`)
	r.Sources10s = s.uint(`,"sources_10s":`)
	r.SYNSources1s = s.uint(`,"syn_sources":`)
	r.SYNSources10s = s.uint(`,"syn_sources_10s":`)
	r.SYNACKSources1s = s.uint(`,"synack_sources":`)
	r.SYNACKSources10s = s.uint(`,"synack_sources_10s":`)
	r.Complete = s.bool(`,"complete":`)
	r.Truncated = s.bool(`,"truncated":`)
	r.LostWindows = s.uint(`,"lost_windows":`)
	r.Duplicates = s.uint(`,"duplicates":`)
	r.Stale = s.bool(`,"stale":`)
	r.Top = list(s, `,"top":[`, `{"source":`, s.source)
	r.Victims = list(s, `,"victims":[`, `{"dest`, s.target)
	r.Ports = list(s, `,"ports":[`, `{"class":`, s.target)
	r.EvidencePartition = int32(s.upTo(math.MaxInt32, `,"evidence_partition":`))
	r.EvidenceOffset = int64(s.uint(`,"evidence_offset":`))
	s.expect(`}`)
}

// list reads the elements of an array. Each is expected to begin with begin: that
// says how many there are.
func list[T any](s *scanner, name, begin string, element func() T) []T {
	s.expect(name)
	if s.next(`]`) || s.bad {
		return nil
	}
	end := max(0, bytes.IndexByte(s.rest(), ']')) // no element has one
	out := make([]T, 0, bytes.Count(s.rest()[:end], []byte(begin)))
	for {
		out = append(out, element())
		if s.bad || !s.next(`,`) {
			s.expect(`]`)
			return out
		}
	}
}

func (s *scanner) target() (t Target) {
	s.expect(`{`)
	if s.next(`"destination":`) {
		t.Destination = s.address(``)
		s.expect(`,`)
	}
	class, known := schemas.ParseClass(string(s.text(`"class":`)))
	s.refuse(known)
	t.Class = class
	if name := s.text(`,"protocol":`); len(name) > 0 {
		protocol, err := schemas.ParseProtocol(string(name))
		s.refuse(err == nil)
		t.Protocol = protocol
	}
	t.Port = uint16(s.upTo(math.MaxUint16, `,"port":`))
	t.Packets1s = s.uint(`,"packets":`)
	t.Packets10s = s.uint(`,"packets_10s":`)
	t.Bytes1s = s.uint(`,"bytes":`)
	t.Dropped1s = s.some(`,"dropped":`)
	t.Sources1s = s.uint(`,"sources":`)
	t.Sources10s = s.uint(`,"sources_10s":`)
	s.expect(`}`)
	return t
}

func (s *scanner) time(name string) (t time.Time) {
	text := s.text(name)
	s.refuse(t.UnmarshalText(text) == nil)
	return t
}

// seconds reads a duration that covers at most a day.
func (s *scanner) seconds(name string) time.Duration {
	f := s.float(name)
	d, ok := covered(f)
	s.refuse(ok)
	return d
}
