package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas/baselines"
)

// TestPolicyRemembersOverAKill kills the policy with -9 and looks whether its
// next life goes on with what is usual on the interface.
func TestPolicyRemembersOverAKill(t *testing.T) {
	const learned = 5 // seconds
	s := setup(t, scenario.Options{Env: map[stack.Service][]string{stack.Policy: {"WEIR_POLICY_REMEMBER_EVERY=1s"}}})
	clients, err := s.Ordinary(80)
	if err != nil {
		t.Fatal(err)
	}
	var kept watch.Log[baselines.Record]
	reader, err := watch.Read(within(t, 10*time.Second), s.Stack.Brokers, map[string]func(watch.Record){
		s.Stack.Topics.Baselines: func(r watch.Record) {
			b, err := baselines.Decode(r.Key, r.Value)
			if err != nil {
				t.Errorf("unreadable: %v", err)
			}
			kept.Add(b)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(reader.Close)
	last := func() (r baselines.Record, n int) {
		all := kept.All()
		if len(all) == 0 {
			return r, 0
		}
		return all[len(all)-1], len(all)
	}
	eventually(t, 30*time.Second, "a memory of some seconds", func() error {
		if r, n := last(); r.Quiet < learned {
			return fmt.Errorf("%d seconds in %d records", r.Quiet, n)
		}
		return nil
	})
	if err := s.Stack.Kill(stack.Policy); err != nil {
		t.Fatal(err)
	}
	before, n := last()
	if err := s.Stack.Launch(stack.Policy); err != nil {
		t.Fatal(err)
	}
	restarted := time.Now()
	eventually(t, 40*time.Second, "what the next life remembers", func() error {
		if _, now := last(); now <= n {
			return fmt.Errorf("no record since")
		}
		return nil
	})
	after := kept.All()[n]
	alone := uint64(time.Since(restarted)/time.Second) + 1
	if after.Quiet < before.Quiet || after.Quiet > before.Quiet+alone || after.Key() != s.Stack.Key {
		t.Errorf("%s: %d seconds were known before the kill, and %d after %d s of a new life", after.Key(), before.Quiet, after.Quiet, alone)
	}
	// Bucket 13 begins at 64 packets per second; nothing above is written.
	if tcp := after.Classes["tcp_other"]; len(tcp.Seconds) <= 13 || after.Sources == nil {
		t.Errorf("of ordinary clients with hundreds of packets a second: %+v, sources %v", tcp, after.Sources != nil)
	}
	if err := clients.Stop(); err != nil {
		t.Fatal(err)
	}
}
