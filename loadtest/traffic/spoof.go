package traffic

import (
	"encoding/binary"
	"net/netip"
)

// reserved are the ranges that no spoofed source is taken from: those that the
// lab uses itself, and those that a kernel drops before anything looks at them.
func reserved() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// SpoofedSources returns n distinct addresses spread over the whole of IPv4,
// as in real spoofed floods (37,623 sources in 37,550 networks of 256), the
// same ones for the same seed.
func SpoofedSources(n int, seed uint32) []netip.Addr {
	skip := reserved()
	out := make([]netip.Addr, 0, n)
candidates:
	for i := uint32(0); len(out) < n; i++ {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], permute(i^seed))
		a := netip.AddrFrom4(b)
		for _, p := range skip {
			if p.Contains(a) {
				continue candidates
			}
		}
		out = append(out, a)
	}
	return out
}

// permute maps the 32-bit numbers onto themselves one to one: a multiplication
// by an odd number and a shift-xor are each invertible.
func permute(x uint32) uint32 {
	x ^= x >> 16
	x *= 0x7feb352d
	x ^= x >> 15
	x *= 0x846ca68b
	x ^= x >> 16
	return x
}

// SourcesOf returns the first n addresses of p after its network address.
func SourcesOf(p netip.Prefix, n int) []netip.Addr {
	out := make([]netip.Addr, 0, n)
	for a := p.Addr().Next(); len(out) < n && p.Contains(a); a = a.Next() {
		out = append(out, a)
	}
	return out
}
