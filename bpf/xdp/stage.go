package xdp

import (
	"encoding/binary"
	"net/netip"
)

// stage says which map finds a lease.
type stage uint8

const (
	stageNone   stage = iota // no lease
	stageListed              // a single IPv4 source, whatever it sends
	stageExact
	stagePrefix
	stageAllow
	stageSignature
)

// Selectors of source leases that cover a part of the source's packets only.
const (
	selectorAny      = 0
	selectorSYN      = 1 + classSYN
	selectorSYNACK   = 1 + classSYNACK
	selectorLater    = 1 + classFragLater
	selectorProtocol = 128
)

const (
	flagSYN = 0x02
	flagACK = 0x10
)

// classify says where a lease goes. Allow leases win
// over everything; those for one address or prefix have a map of their own.
func classify(m Match, a Action) stage {
	plain := m.SourcePort == 0 && m.DestinationPort == 0 && m.Variant == 0
	whole := plain && m.Protocol == 0 && m.FlagMask == 0 && !m.Fragments
	if a == ActionAllow && whole && (m.Source.IsValid() != m.Destination.IsValid()) {
		return stageAllow
	}
	if a == ActionAllow || !plain || m.Destination.IsValid() || !m.Source.IsValid() || m.Source.Bits() == 0 {
		return stageSignature
	}
	if _, ok := selectorOf(m); !ok {
		return stageSignature
	}
	if m.Source.IsSingleIP() {
		if selector, _ := selectorOf(m); selector == selectorAny && m.Source.Addr().Is4() {
			return stageListed
		}
		return stageExact
	}
	return stagePrefix
}

func selectorOf(m Match) (uint8, bool) {
	switch {
	case m.Fragments:
		return selectorLater, m.Protocol == 0 && m.FlagMask == 0
	case m.Protocol == 0 && m.FlagMask == 0:
		return selectorAny, true
	case m.Protocol == 6 && m.FlagMask == flagSYN|flagACK && m.FlagValue == flagSYN:
		return selectorSYN, true
	case m.Protocol == 6 && m.FlagMask == flagSYN|flagACK && m.FlagValue == flagSYN|flagACK:
		return selectorSYNACK, true
	case m.FlagMask == 0 && m.Protocol < selectorProtocol:
		return selectorProtocol | m.Protocol, true
	}
	return 0, false
}

func exactKeyOf(p netip.Prefix, selector uint8) weirExactKey {
	k := weirExactKey{Family: family(p), Selector: selector}
	k.Address.W = words(p.Addr())
	return k
}

// trieKeyOf returns the key of a prefix or of what is allowed.
func trieKeyOf(m Match, s stage) weirPrefixKey {
	switch {
	case s == stagePrefix:
		selector, _ := selectorOf(m)
		return prefixKeyOf(m.Source, selector)
	case m.Source.IsValid():
		return prefixKeyOf(m.Source, 0)
	}
	return prefixKeyOf(m.Destination, 1)
}

func prefixKeyOf(p netip.Prefix, selector uint8) weirPrefixKey {
	k := weirPrefixKey{Bits: 32 + uint32(p.Bits()), Family: family(p), Selector: selector}
	k.Address.W = words(p.Addr())
	return k
}

func family(p netip.Prefix) uint8 {
	switch {
	case !p.IsValid():
		return 0
	case p.Addr().Is4():
		return 4
	}
	return 6
}

func words(a netip.Addr) (w [4]uint32) {
	if a.Is4() {
		b := a.As4()
		w[0] = binary.NativeEndian.Uint32(b[:])
		return w
	}
	b := a.As16()
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(b[4*i:])
	}
	return w
}
