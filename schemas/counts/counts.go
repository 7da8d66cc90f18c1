// Package counts is the record of weir.counts.v1: what one interface received
// in one window, as raw counts. The probe writes it, the aggregator and anyone
// else read it.
package counts

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
)

// Counters are the packets of one source, or of one interface, in one window.
type Counters struct {
	Packets  uint64                     // all classes together
	Bytes    uint64                     // frame bytes on the wire, Ethernet header included, FCS not
	ByClass  [schemas.NumClasses]uint64 // packets by class; their sum is Packets
	UDPBytes uint64                     // frame bytes of ClassUDP
	Dropped  uint64                     // packets of these that XDP dropped
}

// Add adds o to c.
func (c *Counters) Add(o Counters) {
	c.Packets += o.Packets
	c.Bytes += o.Bytes
	for i := range c.ByClass {
		c.ByClass[i] += o.ByClass[i]
	}
	c.UDPBytes += o.UDPBytes
	c.Dropped += o.Dropped
}

// Source is one remote address and what came from it in the window.
type Source struct {
	Address netip.Addr
	Counters
	// PortPairs is a 64-bit bitmap of a hash of (source port, destination
	// port): its population count estimates the distinct pairs, and the
	// bitwise OR of two windows is the bitmap of both.
	PortPairs uint64
}

// Target is traffic of one class towards one destination and port: what a
// signature needs as its scope.
type Target struct {
	Destination netip.Addr // invalid in Ports, which sum over all destinations
	Class       schemas.Class
	Protocol    uint8  // IP protocol number
	Port        uint16 // SYN: destination port; SYN-ACK, UDP: source port; else 0; 0 also means "any" after the table was full
	Packets     uint64
	Bytes       uint64
	Dropped     uint64
	// SourceBits is a 64-bit bitmap of a hash of the source address: linear
	// counting over it estimates the distinct sources (up to about 250), and
	// the OR of two windows is the bitmap of both.
	SourceBits uint64
}

// Totals is what the whole interface received in the window. It travels in
// chunk 0 only.
type Totals struct {
	Counters
	// NonIP counts frames that are not IPv4 or IPv6 (ARP, LLDP, MPLS, …) and
	// Malformed those too short for what they claim to be. Neither is in Counters.
	NonIP, NonIPBytes, Malformed, MalformedBytes uint64
	// Verdicts are cumulative since the filter was loaded, by stable reason name
	// ("pass", "drop_source", …): a reader takes differences.
	Verdicts map[string]uint64
	// Other are the packets whose source found no place in the table; they are
	// in Counters but in no Source.
	Other Counters
	// Tail are sources left out of this record's chunks under pressure (shed):
	// how many, and their sums. Sum of sources + Tail + Other == Counters.
	Tail        Counters
	TailSources uint64
	// Sketches are HyperLogLog registers (2^10, one byte each) of the sources
	// seen: all, those that sent SYN, those that sent SYN-ACK. Nil means none.
	SourcesSketch, SYNSourcesSketch, SYNACKSourcesSketch []byte
	Victims                                              []Target // the heaviest (destination, class, port)
	Ports                                                []Target // the heaviest (class, port) over all destinations
}

// Record is one value on the topic: chunk Chunk of Chunks of one window.
type Record struct {
	Host      string
	Interface string
	Ifindex   uint32
	Direction string // "ingress"; empty means ingress
	BootID    string // random, new at every start of the probe
	Seq       uint64 // per interface, +1 per window, from 1
	// WindowStart and WindowEnd are wall-clock times for people. Duration comes
	// from the monotonic clock and is what rates are computed with.
	WindowStart, WindowEnd time.Time
	Duration               time.Duration
	Chunk, Chunks          uint32 // chunk i of n; chunk 0 carries Totals
	// IPv6SourcePrefixLength says how off-link IPv6 sources are grouped (64 or
	// 128); on-link ones are always single addresses.
	IPv6SourcePrefixLength uint8
	Truncated              bool // the source table was full: Totals.Other is not zero
	Totals                 *Totals
	Sources                []Source
}
