// Package why explains decisions from what the topics hold: which lease concerns
// an address, what led to it, and the counts that the decision was made of. It
// reads no topic itself.
package why

import (
	"net/netip"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// Covers reports whether a takes in every packet that b takes in.
func Covers(a, b *commands.Match) bool {
	return prefixCovers(a.Source, b.Source) && prefixCovers(a.Destination, b.Destination) &&
		(a.Protocol == 0 || a.Protocol == b.Protocol) &&
		(a.SourcePort == 0 || a.SourcePort == b.SourcePort) &&
		(a.DestinationPort == 0 || a.DestinationPort == b.DestinationPort) &&
		(!a.Fragments || b.Fragments) &&
		b.TCPFlags.Mask&a.TCPFlags.Mask == a.TCPFlags.Mask && b.TCPFlags.Value&a.TCPFlags.Mask == a.TCPFlags.Value
}

func prefixCovers(a, b netip.Prefix) bool {
	return !a.IsValid() || b.IsValid() && a.Bits() <= b.Bits() && a.Overlaps(b)
}

// Meet reports whether there are packets that both a and b take in.
func Meet(a, b *commands.Match) bool {
	same := a.TCPFlags.Mask & b.TCPFlags.Mask
	return prefixesMeet(a.Source, b.Source) && prefixesMeet(a.Destination, b.Destination) &&
		(a.Protocol == 0 || b.Protocol == 0 || a.Protocol == b.Protocol) &&
		(a.SourcePort == 0 || b.SourcePort == 0 || a.SourcePort == b.SourcePort) &&
		(a.DestinationPort == 0 || b.DestinationPort == 0 || a.DestinationPort == b.DestinationPort) &&
		a.TCPFlags.Value&same == b.TCPFlags.Value&same
}

func prefixesMeet(a, b netip.Prefix) bool { return !a.IsValid() || !b.IsValid() || a.Overlaps(b) }

// TargetsMeet reports whether there are interfaces that both a and b mean.
func TargetsMeet(a, b schemas.Target) bool {
	if a.Kind > b.Kind {
		a, b = b, a // b is the more specific one, so a matches it or nothing of it
	}
	return a.Kind == schemas.TargetAll || a.Matches(b.Host, b.Interface)
}
