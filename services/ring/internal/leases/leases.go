// Package leases is what the commands topic says: the leases in force, and which
// of them covers a source. It does no input or output and has no clock.
package leases

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas/commands"
)

// Set is every lease and mode that holds. Its methods must not run at once.
type Set struct {
	byKey    map[string]*commands.Lease
	bySource map[netip.Prefix]map[string]*commands.Lease
	bits     [2][129]int // how many prefixes of each length there are, IPv4 and IPv6
	offset   int64
	rejected uint64
	version  uint64
}

// New returns an empty set.
func New() *Set {
	return &Set{byKey: make(map[string]*commands.Lease), bySource: make(map[netip.Prefix]map[string]*commands.Lease), offset: -1}
}

// Version changes with everything that Live would show differently.
func (s *Set) Version() uint64 { return s.version }

// Follow makes the versions of s go on from those of old, which it replaces.
func (s *Set) Follow(old *Set) { s.version += old.version + 1 }

// Offset is the last offset that was read, -1 at first.
func (s *Set) Offset() int64 { return s.offset }

// Rejected counts the records that no probe would apply either.
func (s *Set) Rejected() uint64 { return s.rejected }

// Apply takes one record of the commands topic; at is the broker's timestamp.
// A record that is refused leaves what its key said before, as in a probe.
func (s *Set) Apply(key, value []byte, offset int64, at, now time.Time) error {
	s.offset = max(s.offset, offset)
	if commands.IsTombstone(value) {
		s.remove(string(key))
		return nil
	}
	c, err := commands.Decode(key, value)
	if err != nil {
		s.rejected++
		return err
	}
	l := commands.NewLease(c, offset, at, now)
	s.drop(l.Key)
	s.byKey[l.Key] = &l
	if p := l.Match.Source; p.IsValid() {
		if s.bySource[p] == nil {
			s.bySource[p] = make(map[string]*commands.Lease)
			s.bits[family(p.Addr())][p.Bits()]++
		}
		s.bySource[p][l.Key] = &l
	}
	s.version++
	return nil
}

// Expire removes what has lapsed.
func (s *Set) Expire(now time.Time) {
	for key, l := range s.byKey {
		if !l.Live(now) {
			s.remove(key)
		}
	}
}

func (s *Set) remove(key string) {
	if s.drop(key) {
		s.version++
	}
}

func (s *Set) drop(key string) bool {
	l := s.byKey[key]
	if l == nil {
		return false
	}
	delete(s.byKey, key)
	if p := l.Match.Source; p.IsValid() {
		delete(s.bySource[p], key)
		if len(s.bySource[p]) == 0 {
			delete(s.bySource, p)
			s.bits[family(p.Addr())][p.Bits()]--
		}
	}
	return true
}

// Lookup returns the lease with the key.
func (s *Set) Lookup(key string) (commands.Lease, bool) {
	if l := s.byKey[key]; l != nil {
		return *l, true
	}
	return commands.Lease{}, false
}

// Len returns how many leases and modes there are, lapsed ones included until
// the next Expire.
func (s *Set) Len() int { return len(s.byKey) }

// Live returns the leases and modes that hold at now, the newest first, at most
// limit, and how many there are.
func (s *Set) Live(now time.Time, limit int) ([]commands.Lease, int) {
	var out []commands.Lease
	for _, l := range s.byKey {
		if l.Live(now) {
			out = append(out, *l)
		}
	}
	slices.SortFunc(out, func(a, b commands.Lease) int {
		if a.Offset != b.Offset {
			return int(b.Offset - a.Offset)
		}
		return strings.Compare(a.Key, b.Key)
	})
	return out[:min(len(out), limit)], len(out)
}

// Covering returns the leases that hold at now for packets from a to the
// interface, the effective one first. A lease may cover only some of the packets
// (its match has a protocol or a port).
func (s *Set) Covering(host, ifname string, a netip.Addr, now time.Time) []commands.Lease {
	var out []commands.Lease
	for bits, n := range s.bits[family(a)][:a.BitLen()+1] {
		if n == 0 {
			continue
		}
		p, err := a.Prefix(bits)
		if err != nil {
			continue
		}
		for _, l := range s.bySource[p] {
			if l.Live(now) && l.Target.Matches(host, ifname) {
				out = append(out, *l)
			}
		}
	}
	slices.SortFunc(out, func(x, y commands.Lease) int {
		if x.Beats(&y) {
			return -1
		}
		return 1
	})
	return out
}

// State returns in one word what happens to packets from a at the interface:
// "allow", "drop", "rate-limit", "observe" or, if no lease covers it, "". The
// word ends in "*" if the lease covers only some of the packets.
func (s *Set) State(host, ifname string, a netip.Addr, now time.Time) string {
	covering := s.Covering(host, ifname, a, now)
	if len(covering) == 0 {
		return ""
	}
	l := covering[0]
	if l.Match != (commands.Match{Source: l.Match.Source}) {
		return string(l.Action) + "*"
	}
	return string(l.Action)
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}
