package leases

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/commands"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

// apply writes a lease given as "target|match|issuer".
func apply(t *testing.T, s *Set, key string, c commands.Command, offset int64, at time.Time) {
	t.Helper()
	k, err := commands.ParseKey([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	c.Target, c.Match, c.Issuer = k.Target, k.Match, k.Issuer
	if c.TTL == 0 {
		c.TTL = time.Minute
	}
	kb, value, err := commands.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(kb, value, offset, at, at); err != nil {
		t.Fatal(err)
	}
}

func TestStateFollowsTheEffectiveLease(t *testing.T) {
	s := New()
	a := netip.MustParseAddr("203.0.113.7")
	state := func(want string) {
		t.Helper()
		if got := s.State("edge-1", "eth0", a, start.Add(time.Second)); got != want {
			t.Errorf("state %q, want %q", got, want)
		}
	}
	state("")
	apply(t, s, "host:edge-2|203.0.113.7/32|alice", commands.Command{Action: commands.Drop}, 1, start)
	state("") // another server
	apply(t, s, "*|source=203.0.113.7/32,protocol=tcp|policy", commands.Command{Action: commands.Observe}, 2, start)
	state("observe*") // only some of the packets
	apply(t, s, "*|203.0.113.0/24|policy", commands.Command{Action: commands.RateLimit, Rate: &commands.Rate{PPS: 5}}, 3, start)
	state("rate-limit")
	apply(t, s, "*|203.0.113.7/32|alice", commands.Command{Action: commands.Drop}, 4, start)
	state("drop")
	apply(t, s, "interface:edge-1/eth0|203.0.113.7/32|bob", commands.Command{Action: commands.Allow}, 5, start)
	state("allow")
	if n := len(s.Covering("edge-1", "eth0", a, start)); n != 4 {
		t.Errorf("%d leases cover it, want 4", n)
	}
	if err := s.Apply([]byte("interface:edge-1/eth0|203.0.113.7/32|bob"), nil, 6, start, start); err != nil {
		t.Fatal(err)
	}
	state("drop")
	s.Expire(start.Add(2 * time.Minute))
	if s.Len() != 0 || len(s.bySource) != 0 {
		t.Errorf("%d leases and %d sources are left", s.Len(), len(s.bySource))
	}
	for f := range s.bits {
		for bits, n := range s.bits[f] {
			if n != 0 {
				t.Errorf("%d prefixes of length %d are left", n, bits)
			}
		}
	}
	if s.Offset() != 6 {
		t.Errorf("offset %d, want 6", s.Offset())
	}
}

func TestRejectedRecordsLeaveWhatWas(t *testing.T) {
	s := New()
	apply(t, s, "*|203.0.113.7/32|alice", commands.Command{Action: commands.Drop}, 1, start)
	if err := s.Apply([]byte("*|203.0.113.7/32|alice"), []byte(`{"action":"explode"}`), 2, start, start); err == nil {
		t.Error("an unknown action was taken")
	}
	if _, ok := s.Lookup("*|203.0.113.7/32|alice"); !ok || s.Rejected() != 1 {
		t.Errorf("known %v, rejected %d", ok, s.Rejected())
	}
}
