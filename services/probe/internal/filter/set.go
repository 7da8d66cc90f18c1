// Package filter turns the commands topic into the data plane's leases: it
// keeps every live command that concerns this host, judges it, and puts the
// effective lease of each match into XDP.
package filter

import (
	"container/heap"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// held is one lease of the log that concerns this host, with what is known
// about it here.
type held struct {
	commands.Lease
	suspended string // why it is not applied; empty: it is
	deadMan   bool   // suspended until its issuer writes it again
	appliedAt time.Time
}

// set is the leases by key and by match.
type set struct {
	byKey   map[string]*held
	byMatch map[commands.Match][]*held
	modes   map[string]*commands.Lease
	issuers map[string]int
	counts  map[schemas.Target]tally // what status says, known without asking each lease
	lapses  lapses
}

// tally counts leases.
type tally struct{ applied, suspended int }

func newSet() *set {
	return &set{
		byKey: map[string]*held{}, byMatch: map[commands.Match][]*held{},
		modes: map[string]*commands.Lease{}, issuers: map[string]int{}, counts: map[schemas.Target]tally{},
	}
}

// put takes a lease in, in place of an earlier one under its key.
func (s *set) put(h *held) {
	s.remove(h.Key)
	s.byKey[h.Key] = h
	s.byMatch[h.Match] = append(s.byMatch[h.Match], h)
	s.issuers[h.Issuer]++
	s.count(h, 1)
	if !h.ExpiresAt.IsZero() {
		heap.Push(&s.lapses, h)
		s.prune()
	}
}

// count adds by to the tally that h is in.
func (s *set) count(h *held, by int) {
	t := s.counts[h.Target]
	if h.suspended == "" {
		t.applied += by
	} else {
		t.suspended += by
	}
	if t == (tally{}) {
		delete(s.counts, h.Target)
	} else {
		s.counts[h.Target] = t
	}
}

// suspend sets why a lease of the set is not applied; empty: it is.
func (s *set) suspend(h *held, why string) {
	s.count(h, -1)
	h.suspended = why
	s.count(h, 1)
}

// remove forgets a lease and returns it, or nil.
func (s *set) remove(key string) *held {
	h := s.byKey[key]
	if h == nil {
		return nil
	}
	delete(s.byKey, key)
	s.count(h, -1)
	rest := slices.DeleteFunc(s.byMatch[h.Match], func(o *held) bool { return o == h })
	if len(rest) == 0 {
		delete(s.byMatch, h.Match)
	} else {
		s.byMatch[h.Match] = rest
	}
	if s.issuers[h.Issuer]--; s.issuers[h.Issuer] == 0 {
		delete(s.issuers, h.Issuer)
	}
	return h
}

// Interface is one attached interface, as commands target it.
type Interface struct {
	Slot xdp.Slot
	Name string
}

// entries returns what the data plane should hold for one match: usually one
// entry, more if leases with different targets differ by interface.
func (s *set) entries(m commands.Match, host string, interfaces []Interface, now time.Time) []xdp.Entry {
	if len(s.byMatch[m]) == 1 { // so it is with nearly all of a million
		return s.only(s.byMatch[m][0], host, interfaces, now)
	}
	masks := map[*held]uint64{}
	var order []*held
	for _, i := range interfaces {
		var best *held
		for _, h := range s.byMatch[m] {
			if h.Target.Matches(host, i.Name) && h.Live(now) && (h.suspended == "" || h.deadMan) && (best == nil || better(h, best)) {
				best = h
			}
		}
		if best == nil {
			continue
		}
		if masks[best] == 0 {
			order = append(order, best)
		}
		masks[best] |= 1 << i.Slot
	}
	// The one for most interfaces gets the plain match, the others variants.
	slices.SortStableFunc(order, func(a, b *held) int {
		return bits.OnesCount64(masks[b]) - bits.OnesCount64(masks[a])
	})
	out := make([]xdp.Entry, 0, len(order))
	for i, h := range order {
		out = append(out, entryOf(h, masks[h], uint8(i), now))
	}
	return out
}

// only is entries of a match that one lease has.
func (s *set) only(h *held, host string, interfaces []Interface, now time.Time) []xdp.Entry {
	if !h.Live(now) || h.suspended != "" && !h.deadMan {
		return nil
	}
	var mask uint64
	for _, i := range interfaces {
		if h.Target.Matches(host, i.Name) {
			mask |= 1 << i.Slot
		}
	}
	if mask == 0 {
		return nil
	}
	return []xdp.Entry{entryOf(h, mask, 0, now)}
}

// better orders leases of which one takes effect; suspended ones come last.
func better(a, b *held) bool {
	if (a.suspended == "") != (b.suspended == "") {
		return a.suspended == ""
	}
	return a.Beats(&b.Lease)
}

func entryOf(h *held, mask uint64, variant uint8, now time.Time) xdp.Entry {
	e := xdp.Entry{Match: matchOf(h.Match), Interfaces: mask, Action: actionOf(h.Action), Offset: h.Offset, Suspended: h.suspended != ""}
	e.Match.Variant = variant
	if !h.ExpiresAt.IsZero() {
		e.ExpiresAt = max(1, xdp.BootTime()+h.ExpiresAt.Sub(now))
	}
	if h.Rate != nil {
		e.PPS, e.BPS = h.Rate.PPS, h.Rate.BPS
	}
	return e
}

func matchOf(m commands.Match) xdp.Match {
	return xdp.Match{
		Source: m.Source, Destination: m.Destination, Protocol: m.Protocol,
		SourcePort: m.SourcePort, DestinationPort: m.DestinationPort,
		FlagMask: m.TCPFlags.Mask, FlagValue: m.TCPFlags.Value, Fragments: m.Fragments,
	}
}

// commandOf is the inverse of matchOf.
func commandOf(m *xdp.Match) commands.Match {
	return commands.Match{
		Source: m.Source, Destination: m.Destination, Protocol: m.Protocol,
		SourcePort: m.SourcePort, DestinationPort: m.DestinationPort,
		TCPFlags: commands.TCPFlags{Mask: m.FlagMask, Value: m.FlagValue}, Fragments: m.Fragments,
	}
}

// of returns the lease that e was made of, or nil.
func (s *set) of(e xdp.Entry) *held {
	for _, h := range s.byMatch[commandOf(&e.Match)] {
		if h.Offset == e.Offset {
			return h
		}
	}
	return nil
}

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

// mode returns how leases are treated on an interface: the live mode command
// with the most specific target, else fallback.
func (s *set) mode(host, ifname string, fallback commands.Mode, now time.Time) commands.Mode {
	var best *commands.Lease
	for _, l := range s.modes {
		if l.Target.Matches(host, ifname) && l.Live(now) && (best == nil || l.OverridesMode(best)) {
			best = l
		}
	}
	if best == nil {
		return fallback
	}
	return best.Mode
}

// FilterMode translates a mode to the data plane's.
func FilterMode(m commands.Mode) xdp.FilterMode {
	switch m {
	case commands.ModeEnforce:
		return xdp.FilterEnforce
	case commands.ModeOff:
		return xdp.FilterOff
	}
	return xdp.FilterObserve
}

// ModeName is the inverse of FilterMode.
func ModeName(m xdp.FilterMode) commands.Mode {
	switch m {
	case xdp.FilterEnforce:
		return commands.ModeEnforce
	case xdp.FilterOff:
		return commands.ModeOff
	}
	return commands.ModeObserve
}

// concerns reports whether a target means any interface of host.
func concerns(t schemas.Target, host string) bool {
	return t.Kind == schemas.TargetAll || t.Host == host
}

func checkPrefix(p netip.Prefix) error {
	if p.IsValid() && p.Masked() != p {
		return fmt.Errorf("prefix %v has host bits set", p)
	}
	return nil
}
