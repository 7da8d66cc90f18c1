package xdp

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
	"time"
)

// windowModel is what one interface should have counted in one window.
type windowModel struct {
	totals                                       Counters
	nonIP, nonIPBytes, malformed, malformedBytes uint64
	sources                                      map[netip.Addr]*sourceModel
	targets                                      map[Target]*Counters // keyed by what tells them apart
}

type sourceModel struct {
	Counters
	pairs map[[2]uint16]bool
}

// bounds reports whether c is no more than the source sent.
func (s *sourceModel) bounds(c *Counters) bool {
	for i, n := range c.ByClass {
		if n > s.ByClass[i] {
			return false
		}
	}
	return c.Packets > 0 && c.Packets <= s.Packets && c.Bytes <= s.Bytes && c.UDPBytes <= s.UDPBytes && c.Dropped <= s.Dropped
}

func newWindowModel() *windowModel {
	return &windowModel{sources: map[netip.Addr]*sourceModel{}, targets: map[Target]*Counters{}}
}

// count adds a packet that left with a reason.
func (w *windowModel) count(p *dissected, reason string, whole bool) {
	n := uint64(len(p.frame))
	switch p.class {
	case cNonIP:
		w.nonIP++
		w.nonIPBytes += n
		return
	case cMalformed:
		w.malformed++
		w.malformedBytes += n
		return
	}
	one := Counters{Packets: 1, Bytes: n}
	one.ByClass[p.class] = 1
	if p.class == cUDP {
		one.UDPBytes = n
	}
	if isDrop(reason) {
		one.Dropped = 1
	}
	sum(&w.totals, &one)
	address := p.counted(whole)
	s := w.sources[address]
	if s == nil {
		s = &sourceModel{pairs: map[[2]uint16]bool{}}
		w.sources[address] = s
	}
	sum(&s.Counters, &one)
	if p.sport != 0 || p.dport != 0 {
		s.pairs[[2]uint16{p.sport, p.dport}] = true
	}
	key := Target{Destination: p.destination, Class: uint8(p.class), Protocol: p.protocol}
	switch p.class {
	case cSYN:
		key.Port = p.dport
	case cSYNACK, cUDP:
		key.Port = p.sport
	}
	if w.targets[key] == nil {
		w.targets[key] = &Counters{}
	}
	sum(w.targets[key], &one)
}

// counted is the source under which a packet counts: IPv6 hosts that are not on the
// link are as many as their /64.
func (d *dissected) counted(whole bool) netip.Addr {
	a := d.source
	if a.Is4() || whole || netip.MustParsePrefix("fe80::/10").Contains(a) {
		return a
	}
	return netip.PrefixFrom(a, 64).Masked().Addr()
}

func isDrop(reason string) bool {
	return strings.HasPrefix(reason, "drop_") || strings.HasPrefix(reason, "limit_")
}

func sum(into, c *Counters) {
	into.Packets += c.Packets
	into.Bytes += c.Bytes
	into.UDPBytes += c.UDPBytes
	into.Dropped += c.Dropped
	for i := range c.ByClass {
		into.ByClass[i] += c.ByClass[i]
	}
}

// compare holds a window against the model and returns what differs.
func (w *windowModel) compare(got *Window) error {
	if got.Totals != w.totals {
		return fmt.Errorf("totals %+v, want %+v", got.Totals, w.totals)
	}
	if got.NonIP != w.nonIP || got.NonIPBytes != w.nonIPBytes || got.Malformed != w.malformed || got.MalformedBytes != w.malformedBytes {
		return fmt.Errorf("non-IP %d (%d B), malformed %d (%d B), want %d (%d B) and %d (%d B)", got.NonIP, got.NonIPBytes,
			got.Malformed, got.MalformedBytes, w.nonIP, w.nonIPBytes, w.malformed, w.malformedBytes)
	}
	if got.Truncated != (got.Other.Packets > 0) {
		return fmt.Errorf("truncated %v with %d packets in other", got.Truncated, got.Other.Packets)
	}
	if err := w.compareSources(got); err != nil {
		return err
	}
	return w.compareTargets(got)
}

func (w *windowModel) compareSources(got *Window) error {
	seen := map[netip.Addr]bool{}
	all := got.Other
	for _, s := range got.Sources.All() {
		want := w.sources[s.Address]
		if want == nil || seen[s.Address] {
			return fmt.Errorf("source %v: known %v, seen before %v", s.Address, want != nil, seen[s.Address])
		}
		seen[s.Address] = true
		sum(&all, &s.Counters)
		if !got.Truncated && s.Counters != want.Counters || !want.bounds(&s.Counters) {
			return fmt.Errorf("source %v: %+v, want %+v", s.Address, s.Counters, want.Counters)
		}
		if n := bits.OnesCount64(s.PortPairs); n > len(want.pairs) {
			return fmt.Errorf("source %v: %d bits for %d pairs of ports", s.Address, n, len(want.pairs))
		}
	}
	if all != w.totals {
		return fmt.Errorf("sources and other add up to %+v, want %+v", all, w.totals)
	}
	if !got.Truncated && len(seen) != len(w.sources) {
		return fmt.Errorf("%d sources, want %d", len(seen), len(w.sources))
	}
	return nil
}

// compareTargets holds the targets against the model. A port that found no place is
// counted under port 0 of its destination, then under no destination, then as lost.
func (w *windowModel) compareTargets(got *Window) error {
	group := func(t Target) Target {
		return Target{Destination: t.Destination, Class: t.Class, Protocol: t.Protocol}
	}
	want, have := map[Target]*Counters{}, map[Target]*Counters{}
	add := func(to map[Target]*Counters, key Target, c *Counters) {
		if to[key] == nil {
			to[key] = &Counters{}
		}
		sum(to[key], c)
	}
	for key, c := range w.targets {
		add(want, group(key), c)
	}
	packets := got.NoTarget
	elsewhere := got.NoTarget > 0
	for _, t := range got.Targets {
		c := Counters{Packets: t.Packets, Bytes: t.Bytes, Dropped: t.Dropped}
		packets += t.Packets
		if c.Packets == 0 || c.Dropped > c.Packets || t.SourceBits == 0 {
			return fmt.Errorf("target %+v makes no sense", t)
		}
		if !t.Destination.IsValid() { // one of many, or the unspecified address
			elsewhere = true
			continue
		}
		add(have, group(t), &c)
		key := group(t)
		key.Port = t.Port
		if m := w.targets[key]; t.Port != 0 && (m == nil || m.Packets < t.Packets) {
			return fmt.Errorf("target %+v, want %+v", t, m)
		}
	}
	if packets != w.totals.Packets || elsewhere && len(w.targets) <= 8 && !w.unspecified() {
		return fmt.Errorf("%d packets have a target, %d of them lost, of %d to %d", packets, got.NoTarget, w.totals.Packets, len(w.targets))
	}
	for key, c := range have {
		m := want[key]
		if m == nil || c.Packets > m.Packets || c.Bytes > m.Bytes || c.Dropped > m.Dropped ||
			!elsewhere && (c.Packets != m.Packets || c.Bytes != m.Bytes || c.Dropped != m.Dropped) {
			return fmt.Errorf("target %+v: %+v, want %+v", key, c, m)
		}
	}
	return nil
}

// unspecified reports whether a packet went to 0.0.0.0 or ::.
func (w *windowModel) unspecified() bool {
	for t := range w.targets {
		if t.Destination.IsUnspecified() {
			return true
		}
	}
	return false
}

// leaseModel is the filter as its owner sees it.
type leaseModel map[Match]*leaseState

type leaseState struct {
	Entry
	drops Drops
}

// put is what Datapath.Put promises for one entry.
func (l leaseModel) put(e Entry) {
	old := l[e.Match]
	if old != nil && old.Action == e.Action && old.Interfaces == e.Interfaces {
		old.Entry = e
		return
	}
	l[e.Match] = &leaseState{Entry: e}
}

// covering returns the leases that are about a packet at a time.
func (l leaseModel) covering(p *dissected, s Slot, now time.Duration) (list []*leaseState) {
	for _, e := range l {
		if !e.Suspended && e.Interfaces&(1<<s) != 0 && (e.ExpiresAt == 0 || e.ExpiresAt > now) && p.coveredBy(e.Match) {
			list = append(list, e)
		}
	}
	return list
}

// coveredBy is covers, and knows that a header which is cut short has no flags.
func (d *dissected) coveredBy(m Match) bool {
	return d.covers(m) && (m.FlagMask == 0 || d.class <= cTCPOther) && (!m.Fragments || d.laterFragment)
}

const unreachable = 1_000_000_000 // packets or bytes per second: a limit that no test reaches

// reasons returns the reasons with which a packet may leave at a time, before mode.
func (l leaseModel) reasons(p *dissected, s Slot, now time.Duration, established bool) []string {
	var strongest Action
	var allowed, synLimit bool
	reachable := false
	for _, e := range l.covering(p, s, now) {
		if e.Action == ActionAllow {
			allowed = true
			continue
		}
		if e.Action > strongest {
			strongest, synLimit, reachable = e.Action, false, false
		}
		if e.Action == strongest && e.Action == ActionRateLimit {
			reachable = reachable || e.PPS != 0 && e.PPS < unreachable || e.BPS != 0 && e.BPS < unreachable
			synLimit = synLimit || p.class == cSYN && e.Match.FlagMask&e.Match.FlagValue&flagSYN != 0
		}
	}
	switch want := acceptable(strongest, allowed); {
	case allowed || strongest != ActionRateLimit:
		return want
	case established && synLimit:
		want = append(want, "pass")
		fallthrough
	default:
		if reachable {
			want = append(want, "limit_source", "limit_prefix", "limit_signature")
		}
		return want
	}
}
