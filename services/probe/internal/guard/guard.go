// Package guard knows what must never be blocked, whoever orders it: this
// host's own addresses, its gateways, resolvers and brokers, and what the
// operator protects.
package guard

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weir-net/weir/schemas/commands"
)

// Minimum prefix lengths of a source or destination that is dropped or limited.
const (
	MinBits4 = 16
	MinBits6 = 32
)

// Broker is one broker as its packets reach this host.
type Broker struct {
	Address netip.Addr
	Port    uint16
}

// Facts are what the host's state says. The zero value protects nothing but
// the reserved ranges.
type Facts struct {
	Own       []netip.Addr
	Gateways  []netip.Addr
	Resolvers []netip.Addr
	Brokers   []Broker
	Protected []netip.Prefix // configured
}

var reserved = []struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "\"this network\""},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
}

// Judge returns why a lease must not be applied, or nil. Leases that only allow
// or observe harm nobody.
func (f *Facts) Judge(c *commands.Command) error {
	if c.Action != commands.Drop && c.Action != commands.RateLimit {
		return nil
	}
	m := &c.Match
	for _, p := range []struct {
		name   string
		prefix netip.Prefix
	}{{"source", m.Source}, {"destination", m.Destination}} {
		if p.prefix.IsValid() && p.prefix.Bits() < minBits(p.prefix) {
			return fmt.Errorf("%s %v is shorter than /%d", p.name, p.prefix, minBits(p.prefix))
		}
	}
	if m.Source.IsValid() {
		return f.judgeSource(m.Source)
	}
	return f.judgeService(m)
}

func minBits(p netip.Prefix) int {
	if p.Addr().Is4() {
		return MinBits4
	}
	return MinBits6
}

func (f *Facts) judgeSource(p netip.Prefix) error {
	for _, r := range reserved {
		if p.Overlaps(r.prefix) {
			return fmt.Errorf("source %v overlaps %s addresses (%v)", p, r.name, r.prefix)
		}
	}
	for _, g := range []struct {
		name  string
		addrs []netip.Addr
	}{{"this host's own address", f.Own}, {"the default gateway", f.Gateways}, {"the resolver", f.Resolvers}} {
		for _, a := range g.addrs {
			if p.Contains(a) {
				return fmt.Errorf("source %v contains %s %v", p, g.name, a)
			}
		}
	}
	for _, b := range f.Brokers {
		if p.Contains(b.Address) {
			return fmt.Errorf("source %v contains the broker %v", p, b.Address)
		}
	}
	for _, q := range f.Protected {
		if p.Overlaps(q) {
			return fmt.Errorf("source %v overlaps the protected prefix %v", p, q)
		}
	}
	return nil
}

// judgeService refuses a lease without a source that would take in what a
// broker sends us: the way by which releases come.
func (f *Facts) judgeService(m *commands.Match) error {
	for _, b := range f.Brokers {
		if m.CouldMatchReply(b.Address, b.Port, f.Own) {
			return fmt.Errorf("%v would cut the connection to the broker %v", *m, b.Address)
		}
	}
	return nil
}

// Prefixes returns the sources that nothing may limit.
func (f *Facts) Prefixes() []netip.Prefix {
	out := slices.Clone(f.Protected)
	for i := range reserved {
		out = append(out, reserved[i].prefix)
	}
	for _, all := range [][]netip.Addr{f.Own, f.Gateways, f.Resolvers} {
		for _, a := range all {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	for _, b := range f.Brokers {
		out = append(out, netip.PrefixFrom(b.Address, b.Address.BitLen()))
	}
	return out
}

// Equal reports whether two states of the host protect the same.
func (f *Facts) Equal(o *Facts) bool {
	return slices.Equal(f.Own, o.Own) && slices.Equal(f.Gateways, o.Gateways) && slices.Equal(f.Resolvers, o.Resolvers) &&
		slices.Equal(f.Brokers, o.Brokers) && slices.Equal(f.Protected, o.Protected)
}

// CouldCut reports whether a lease, although it was permitted, may be what keeps
// us from the brokers: the dead-man's question. A lease on a source that is no
// broker's, or on the opening of connections to us, cannot.
func (f *Facts) CouldCut(c *commands.Command) bool {
	if c.Action != commands.Drop && c.Action != commands.RateLimit {
		return false
	}
	for _, b := range f.Brokers {
		if c.Match.CouldMatchReply(b.Address, b.Port, nil) {
			return true
		}
	}
	// Without a known broker, whatever is not narrowed to single sources is suspect.
	return len(f.Brokers) == 0 && (!c.Match.Source.IsValid() || !c.Match.Source.IsSingleIP())
}
