// Package rates is the record of weir.rates.v1, the aggregator's table: the
// current rates of one interface, as JSON that anyone may read.
package rates

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
)

// Counts are packets by class and their sums within one sliding window.
type Counts struct {
	Packets  uint64
	Bytes    uint64
	ByClass  [schemas.NumClasses]uint64
	UDPBytes uint64
	Dropped  uint64
}

// Source is one of the heaviest sources, with absolute counts over the sliding
// windows of 1 s and 10 s.
type Source struct {
	Source    netip.Addr
	PPS       float64 // packets per second over 1 s
	BPS       float64 // bits per second over 1 s
	PortPairs uint32  // distinct (source port, destination port) pairs over 1 s, an estimate, at most 64
	Window1s  Counts
	Window10s Counts
}

// Target is traffic of one class to one destination and port (victims), or to
// one port over all destinations (ports; Destination is then invalid).
type Target struct {
	Destination netip.Addr
	Class       schemas.Class
	Protocol    uint8
	Port        uint16 // SYN: destination port; SYN-ACK, UDP: source port; 0: any
	Packets1s   uint64
	Packets10s  uint64
	Bytes1s     uint64
	Dropped1s   uint64
	Sources1s   uint64 // distinct sources, an estimate, saturating near 260
	Sources10s  uint64
}

// Record is one value of the table.
type Record struct {
	Host, Interface string
	BootID          string
	Seq             uint64    // the last window in it
	Start, End      time.Time // the span of the 1 s figures, wall clock
	PPS, BPS        float64   // received, over 1 s
	DroppedPPS      float64   // of these dropped, over 1 s
	PPSEWMA         float64   // exponentially weighted, time constant 10 s, advances on a new Seq only
	Window1s        Counts    // the interface as a whole
	Window10s       Counts
	Covered         time.Duration // how much of the 10 s window has been seen since the state was rebuilt
	NonIP1s         uint64
	Malformed1s     uint64
	// Distinct sources by HyperLogLog over 1 s and 10 s.
	Sources1s, Sources10s             uint64
	SYNSources1s, SYNSources10s       uint64
	SYNACKSources1s, SYNACKSources10s uint64
	Complete                          bool     // every chunk of the last window arrived and nothing was shed
	Truncated                         bool     // the probe's source table was full
	LostWindows                       uint64   // gaps in Seq since BootID began, as seen by the aggregator
	Duplicates                        uint64   // chunks seen twice and ignored
	Stale                             bool     // no window for 15 s
	Top                               []Source // at most 256
	Victims                           []Target
	Ports                             []Target
	// EvidencePartition and EvidenceOffset are those of the last counts record in it.
	EvidencePartition int32
	EvidenceOffset    int64
}
