package capture

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/weir-net/weir/schemas"
)

// Count is packets and frame bytes.
type Count struct{ Packets, Bytes uint64 }

// Tally is what an interface must have counted after some frames.
type Tally struct {
	IP        Count
	NonIP     Count
	Malformed Count
	ByClass   [schemas.NumClasses]uint64
	Sources   map[netip.Addr]Count
}

// NewTally counts frames as a probe does that groups IPv6 sources by prefixes
// of ipv6Prefix bits.
func NewTally(frames []Frame, ipv6Prefix int) Tally {
	t := Tally{Sources: make(map[netip.Addr]Count)}
	for _, f := range frames {
		t.Add(Classify(f.Data), ipv6Prefix)
	}
	return t
}

// Add counts one packet.
func (t *Tally) Add(p Packet, ipv6Prefix int) {
	one := Count{Packets: 1, Bytes: uint64(p.Bytes)}
	switch p.Kind {
	case NonIP:
		t.NonIP = t.NonIP.plus(one)
	case Malformed:
		t.Malformed = t.Malformed.plus(one)
	default:
		t.IP = t.IP.plus(one)
		t.ByClass[p.Class]++
		source := Group(p.Source, ipv6Prefix)
		t.Sources[source] = t.Sources[source].plus(one)
	}
}

func (c Count) plus(o Count) Count {
	return Count{Packets: c.Packets + o.Packets, Bytes: c.Bytes + o.Bytes}
}

// Group returns the address under which a probe counts a source: itself, or
// the first address of its IPv6 prefix. A link-local source is on the link by
// its nature, and so always counted by itself.
func Group(a netip.Addr, ipv6Prefix int) netip.Addr {
	if a.Is4() || a.IsLinkLocalUnicast() {
		return a
	}
	return netip.PrefixFrom(a, ipv6Prefix).Masked().Addr()
}

// Heaviest returns up to n sources by packets, heaviest first.
func (t *Tally) Heaviest(n int) []netip.Addr {
	all := slices.SortedFunc(maps.Keys(t.Sources), func(a, b netip.Addr) int {
		return cmp.Or(cmp.Compare(t.Sources[b].Packets, t.Sources[a].Packets), a.Compare(b))
	})
	return all[:min(n, len(all))]
}
