package filter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// TestSetAgainstScan puts, renews, suspends and removes leases at random while
// time goes on, and holds what the set knows at once against looking at each.
func TestSetAgainstScan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	targets := []schemas.Target{
		{Kind: schemas.TargetAll}, {Kind: schemas.TargetHost, Host: "h"}, {Kind: schemas.TargetInterface, Host: "h", Interface: "eth0"},
	}
	s, now := newSet(), time.Unix(1e9, 0)
	for step := range 20_000 {
		key := fmt.Sprint(r.IntN(300))
		switch r.IntN(10) {
		case 0:
			s.remove(key)
		case 1:
			if h := s.byKey[key]; h != nil {
				s.suspend(h, []string{"", "protected"}[r.IntN(2)])
			}
		default:
			l := commands.Lease{Key: key, ExpiresAt: now.Add(time.Duration(r.IntN(5000)) * time.Millisecond)}
			l.Target = targets[r.IntN(len(targets))]
			if r.IntN(20) == 0 {
				l.ExpiresAt = time.Time{} // for ever
			}
			s.put(&held{Lease: l, suspended: []string{"", "", "protected"}[r.IntN(3)]})
		}
		now = now.Add(time.Duration(r.IntN(20)) * time.Millisecond)
		over := map[string]bool{}
		for k, h := range s.byKey {
			if !h.Live(now) {
				over[k] = true
			}
		}
		for _, h := range s.lapsed(now) {
			if !over[h.Key] {
				t.Fatalf("step %d: %s is said to have lapsed", step, h.Key)
			}
			delete(over, h.Key)
		}
		if len(over) > 0 {
			t.Fatalf("step %d: %v lapsed unnoticed", step, over)
		}
		counts := map[schemas.Target]tally{}
		for _, h := range s.byKey {
			n := counts[h.Target]
			if h.suspended == "" {
				n.applied++
			} else {
				n.suspended++
			}
			counts[h.Target] = n
		}
		for _, target := range targets {
			if counts[target] != s.counts[target] {
				t.Fatalf("step %d: %v has %+v, and is said to have %+v", step, target, counts[target], s.counts[target])
			}
		}
		if most := 2*len(s.byKey) + 1024; len(s.lapses) > most {
			t.Fatalf("step %d: %d times of %d leases are kept", step, len(s.lapses), len(s.byKey))
		}
	}
}

// TestRenewalsAreForgotten renews one lease for long: what it was must not pile
// up until it would have lapsed.
func TestRenewalsAreForgotten(t *testing.T) {
	s, now := newSet(), time.Unix(1e9, 0)
	for range 10_000 {
		now = now.Add(time.Second)
		s.put(&held{Lease: commands.Lease{Key: "k", ExpiresAt: now.Add(24 * time.Hour)}})
	}
	if len(s.lapses) > 1026 {
		t.Errorf("%d times are kept of one lease", len(s.lapses))
	}
}
