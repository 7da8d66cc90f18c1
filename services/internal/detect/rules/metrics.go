package rules

import (
	"maps"
	"slices"
	"strings"
)

// Metrics that conditions may name, of one source in the rule's window.
const (
	SYN          = "syn"            // packets
	SYNShare     = "syn_share"      // of its TCP packets, 0 to 1
	TCPInside    = "tcp_inside"     // TCP packets from inside connections
	UDP          = "udp"            // packets
	UDPMeanFrame = "udp_mean_frame" // bytes
	PortPairs    = "port_pairs"     // distinct, over 1 s, at most 64
	ICMP         = "icmp"           // packets
	Fragments    = "fragments"      // later ones
	Packets      = "packets"
	MeanFrame    = "mean_frame" // bytes
	LinkShare    = "link_share" // of the link's rate, 0 to 1; 0 if that is not known
)

// metrics lists what may be named, and what a condition on it is about.
func metrics() map[string]Cover {
	return map[string]Cover{
		SYN: CoverSYN, SYNShare: CoverSYN, TCPInside: CoverAll, UDP: CoverUDP, UDPMeanFrame: CoverUDP, PortPairs: CoverAll,
		ICMP: CoverICMP, Fragments: CoverFragments, Packets: CoverDominant, MeanFrame: CoverDominant, LinkShare: CoverDominant,
	}
}

// About is what the rule's first condition counts: the packets that a lease
// takes if the source is to be spared.
func (s *Source) About() Cover {
	if len(s.All) > 0 {
		return metrics()[s.All[0].Metric]
	}
	return metrics()[s.Any[0].Metric]
}

// names lists the keys of m.
func names[V any](m map[string]V) string {
	return oneOf(slices.Sorted(maps.Keys(m)))
}

func oneOf(list []string) string {
	if len(list) == 1 {
		return list[0]
	}
	return strings.Join(list[:len(list)-1], ", ") + " or " + list[len(list)-1]
}
