package filter

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// match is a commands.Match without a pointer: the garbage collector does not
// look into a map of these.
type match struct {
	source, destination             [16]byte // IPv4 in the first four
	sourcePort, destinationPort     uint16
	sourceFamily, destinationFamily uint8 // 4, 6 or 0: any
	sourceBits, destinationBits     uint8
	protocol, flagMask, flagValue   uint8
	fragments                       bool
}

// packed returns m as a key.
func packed(m commands.Match) match {
	p := match{
		protocol: m.Protocol, sourcePort: m.SourcePort, destinationPort: m.DestinationPort,
		flagMask: m.TCPFlags.Mask, flagValue: m.TCPFlags.Value, fragments: m.Fragments,
	}
	p.source, p.sourceFamily, p.sourceBits = packedPrefix(m.Source)
	p.destination, p.destinationFamily, p.destinationBits = packedPrefix(m.Destination)
	return p
}

func packedPrefix(p netip.Prefix) (address [16]byte, family, bits uint8) {
	switch a := p.Addr(); {
	case !p.IsValid():
		return address, 0, 0
	case a.Is4():
		four := a.As4()
		copy(address[:], four[:])
		return address, 4, uint8(p.Bits())
	default:
		return a.As16(), 6, uint8(p.Bits())
	}
}

func prefix(address [16]byte, family, bits uint8) netip.Prefix {
	switch family {
	case 0:
		return netip.Prefix{}
	case 4:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(address[:4])), int(bits))
	default:
		return netip.PrefixFrom(netip.AddrFrom16(address), int(bits))
	}
}

// command is the inverse of packed.
func (p *match) command() commands.Match {
	return commands.Match{
		Source: prefix(p.source, p.sourceFamily, p.sourceBits), Destination: prefix(p.destination, p.destinationFamily, p.destinationBits),
		Protocol: p.protocol, SourcePort: p.sourcePort, DestinationPort: p.destinationPort,
		TCPFlags: commands.TCPFlags{Mask: p.flagMask, Value: p.flagValue}, Fragments: p.fragments,
	}
}

// datapath returns p as the data plane has it.
func (p *match) datapath() xdp.Match {
	return xdp.Match{
		Source: prefix(p.source, p.sourceFamily, p.sourceBits), Destination: prefix(p.destination, p.destinationFamily, p.destinationBits),
		Protocol: p.protocol, SourcePort: p.sourcePort, DestinationPort: p.destinationPort,
		FlagMask: p.flagMask, FlagValue: p.flagValue, Fragments: p.fragments,
	}
}

// packedEntry is the inverse of datapath; the variant is not part of it.
func packedEntry(m *xdp.Match) match {
	return packed(commands.Match{
		Source: m.Source, Destination: m.Destination, Protocol: m.Protocol,
		SourcePort: m.SourcePort, DestinationPort: m.DestinationPort,
		TCPFlags: commands.TCPFlags{Mask: m.FlagMask, Value: m.FlagValue}, Fragments: m.Fragments,
	})
}

// held is one lease of the log that concerns this host: what is needed of it
// here, without a pointer, 112 bytes.
type held struct {
	match      match
	prev, next ref // of the same match; without prev it is the first
	owner      uint32
	generation uint32        // of this place in the set
	offset     int64         // on the topic
	expires    int64         // Unix nanoseconds
	appliedAt  time.Duration // since the filter began
	pps, bps   uint64
	action     xdp.Action
	used       bool // false: a free place
	suspended  bool
	deadMan    bool // suspended until its issuer writes it again
}

// heldOf returns what is kept of a lease.
func heldOf(c *commands.Command, offset int64, expires time.Time, appliedAt time.Duration) held {
	h := held{match: packed(c.Match), offset: offset, expires: expires.UnixNano(), appliedAt: appliedAt, action: actionOf(c.Action)}
	if c.Rate != nil {
		h.pps, h.bps = c.Rate.PPS, c.Rate.BPS
	}
	return h
}

func (h *held) live(now int64) bool { return now < h.expires }

// command returns of h what the guard judges by.
func (h *held) command() commands.Command {
	return commands.Command{Action: commandAction(h.action), Match: h.match.command()}
}

// beats orders leases of one match, of which one takes effect; suspended ones come
// last, and the rest is as in commands.Lease.Beats.
func (h *held) beats(o *held) bool {
	switch {
	case h.suspended != o.suspended:
		return o.suspended
	case h.action != o.action:
		return commandAction(h.action).Strength() > commandAction(o.action).Strength()
	case h.expires != o.expires:
		return h.expires > o.expires
	}
	return h.offset > o.offset
}

// entry returns h for the data plane, on the interfaces of mask.
func (h *held) entry(mask uint64, variant uint8, t instant) xdp.Entry {
	e := xdp.Entry{
		Match: h.match.datapath(), Interfaces: mask, Action: h.action, Offset: h.offset, Suspended: h.suspended,
		ExpiresAt: max(1, t.boot+time.Duration(h.expires-t.wall)), PPS: h.pps, BPS: h.bps,
	}
	e.Match.Variant = variant
	return e
}

// instant is one moment on two clocks: reading the second costs a system call,
// and is done once for many leases.
type instant struct {
	wall int64         // Unix nanoseconds
	boot time.Duration // xdp.BootTime
}

func at(now time.Time) instant { return instant{wall: now.UnixNano(), boot: xdp.BootTime()} }

func actionOf(a commands.Action) xdp.Action {
	switch a {
	case commands.Allow:
		return xdp.ActionAllow
	case commands.Drop:
		return xdp.ActionDrop
	case commands.RateLimit:
		return xdp.ActionRateLimit
	default:
		return xdp.ActionObserve
	}
}

// commandAction is the inverse of actionOf.
func commandAction(a xdp.Action) commands.Action {
	switch a {
	case xdp.ActionAllow:
		return commands.Allow
	case xdp.ActionDrop:
		return commands.Drop
	case xdp.ActionRateLimit:
		return commands.RateLimit
	default:
		return commands.Observe
	}
}

// owner is whose lease it is and which interfaces it is for: with the match, its key.
type owner struct {
	target schemas.Target
	issuer string
}
