package filter

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// numbered is the match of an address.
func numbered(n uint32) match {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n)
	return packed(commands.Match{Source: netip.PrefixFrom(netip.AddrFrom4(a), 32)})
}

type leaseKey struct {
	match
	owner
}

// TestSetAgainstScan puts, renews, suspends and removes leases at random while
// time goes on, and holds what the set knows at once against looking at each.
func TestSetAgainstScan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	targets := []schemas.Target{
		{Kind: schemas.TargetAll}, {Kind: schemas.TargetHost, Host: "h"}, {Kind: schemas.TargetInterface, Host: "h", Interface: "eth0"},
	}
	issuers := []string{"a", "b"}
	s, now := newSet(), time.Unix(1e9, 0).UnixNano()
	want := map[leaseKey]held{}
	for step := range 20_000 {
		k := leaseKey{numbered(uint32(r.IntN(60))), owner{targets[r.IntN(3)], issuers[r.IntN(2)]}}
		switch r.IntN(10) {
		case 0:
			if at, _ := s.find(k.match, k.owner); at != 0 {
				s.remove(at)
			}
			delete(want, k)
		case 1:
			if at, _ := s.find(k.match, k.owner); at != 0 {
				h := want[k]
				h.suspended = r.IntN(2) == 0
				want[k] = h
				s.suspend(s.at(at), h.suspended)
			}
		default:
			h := held{match: k.match, offset: int64(step), expires: now + r.Int64N(int64(5*time.Second)), suspended: r.IntN(3) == 0}
			want[k] = h
			s.put(h, k.owner)
		}
		now += r.Int64N(int64(20 * time.Millisecond))
		over := map[match]int{}
		for k, h := range want {
			if !h.live(now) {
				over[k.match]++
				delete(want, k)
			}
		}
		for _, m := range s.lapsed(nil, now, 1000) {
			if over[m]--; over[m] == 0 {
				delete(over, m)
			}
		}
		if len(over) > 0 {
			t.Fatalf("step %d: lapsed and said to have lapsed differ by %v", step, over)
		}
		compare(t, s, want)
		if most := 2*s.n + 1024; len(s.lapses) > most {
			t.Fatalf("step %d: %d times of %d leases are kept", step, len(s.lapses), s.n)
		}
	}
	for len(want) > 0 {
		for k := range want {
			at, _ := s.find(k.match, k.owner)
			s.remove(at)
			delete(want, k)
		}
	}
	if len(s.first) > 0 || len(s.byOwner) > 0 || len(s.issuers) > 0 || s.n != 0 || len(s.free) != int(s.end)-1 {
		t.Errorf("an empty set has %d matches, %d owners, %d issuers, %d leases, and %d of %d places are free",
			len(s.first), len(s.byOwner), len(s.issuers), s.n, len(s.free), s.end-1)
	}
}

// compare holds a set against its leases by key.
func compare(t *testing.T, s *set, want map[leaseKey]held) {
	t.Helper()
	owners, issuers, same := map[owner]tally{}, map[string]int{}, map[match]int{}
	for k, h := range want {
		at, _ := s.find(k.match, k.owner)
		if at == 0 || s.at(at).offset != h.offset || s.at(at).suspended != h.suspended {
			t.Fatalf("%+v is held at %d, want %+v", k, at, h)
		}
		n := owners[k.owner]
		if h.suspended {
			n.suspended++
		} else {
			n.applied++
		}
		owners[k.owner] = n
		issuers[k.issuer]++
		same[k.match]++
	}
	for o, n := range owners {
		if got := s.owners[s.byOwner[o]]; got.owner != o || got.tally != n {
			t.Fatalf("%+v has %+v, and is said to have %+v", o, n, got)
		}
	}
	for m, n := range same {
		if _, got := s.find(m, owner{}); got != n {
			t.Fatalf("a match has %d leases, and is said to have %d", n, got)
		}
	}
	for name, n := range issuers {
		if s.issuers[name] != n {
			t.Fatalf("issuer %s has %d leases, and is said to have %d", name, n, s.issuers[name])
		}
	}
	if len(s.byOwner) != len(owners) || len(s.first) != len(same) || s.n != len(want) || len(s.issuers) != len(issuers) {
		t.Fatalf("%d owners, %d matches, %d leases, %d issuers; want %d, %d, %d, %d", len(s.byOwner), len(s.first), s.n, len(s.issuers),
			len(owners), len(same), len(want), len(issuers))
	}
}

// TestRenewalsAreForgotten renews one lease for long: what it was must not pile
// up until it would have lapsed.
func TestRenewalsAreForgotten(t *testing.T) {
	s, now := newSet(), time.Unix(1e9, 0)
	for range 10_000 {
		now = now.Add(time.Second)
		s.put(held{match: numbered(1), expires: now.Add(24 * time.Hour).UnixNano()}, owner{issuer: "a"})
	}
	if len(s.lapses) > 1026 || len(s.blocks) > 1 || len(s.owners) > 1 {
		t.Errorf("%d times, %d blocks and %d owners are kept of one lease", len(s.lapses), len(s.blocks), len(s.owners))
	}
}

// TestShrink: a flood's leases do not take memory for ever, and what stays is
// unchanged.
func TestShrink(t *testing.T) {
	s, now := newSet(), time.Unix(1e9, 0).UnixNano()
	want := map[leaseKey]held{}
	const flood = 40 * blockSize
	for i := range flood {
		h := held{match: numbered(uint32(i)), offset: int64(i), expires: now + 1}
		if i%1000 == 0 {
			for _, issuer := range []string{"a", "b"} {
				k := leaseKey{h.match, owner{issuer: issuer}}
				want[k] = held{match: h.match, offset: int64(i), expires: now + 1000 + int64(i), suspended: issuer == "b"}
				s.put(want[k], k.owner)
			}
			continue
		}
		s.put(h, owner{issuer: "policy"})
	}
	s.shrink()
	if len(s.blocks) < 40 {
		t.Fatalf("%d blocks in the middle of a flood", len(s.blocks))
	}
	s.lapsed(nil, now+1, flood)
	s.shrink()
	compare(t, s, want)
	if len(s.blocks) != 1 {
		t.Errorf("%d blocks for %d leases", len(s.blocks), s.n)
	}
	if over := s.lapsed(nil, now+1000+flood/2, flood); len(over) == 0 || s.n != len(want)-len(over) {
		t.Errorf("%d lapsed afterwards, %d are left of %d", len(over), s.n, len(want))
	}
}
