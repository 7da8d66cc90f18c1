package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/schemas/commands"
)

// TestObservedDecisionsAreExplained floods a host whose probe only observes: all
// that would be dropped is told of, and nothing is.
func TestObservedDecisionsAreExplained(t *testing.T) {
	s := setup(t, scenario.Options{})
	topics := followTopics(t, s)
	o, err := s.Run(within(t, 20*time.Second), scenario.UDP(0), 2*time.Second, func(scenario.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if o.Decision == nil || o.Decision.Command.Action != commands.Drop || o.PerSource != 4 {
		t.Fatalf("want four leases that drop: %+v", o)
	}
	if n := drops(t, s); n != 0 {
		t.Errorf("%d packets were dropped by a probe that observes", n)
	}
	source := o.Decision.Command.Match.Source.Addr().String()
	var w explained
	eventually(t, 5*time.Second, "what would be dropped", func() error {
		w = fromJSON[explained](t, s, "why", source)
		if len(w.Leases) != 1 || len(w.Leases[0].Probes) != 1 || len(w.Attacks) != 1 {
			return fmt.Errorf("answered %+v", w)
		}
		if p := w.Leases[0].Probes[0]; p.Effect != "would-drop" || p.Packets != 0 || p.Would < o.Sent/16 {
			return fmt.Errorf("of %d packets of four sources: %+v", o.Sent, p)
		}
		return nil
	})
	eventually(t, 5*time.Second, "the attack", func() error {
		r, err := topics.attack(w.Attacks[0].Key)
		if err == nil && (r.Mode != "observe" || r.Dropped != 0 || r.Would < o.Sent/4 || r.Would > o.Sent) {
			err = fmt.Errorf("of %d packets: %+v", o.Sent, r)
		}
		return err
	})
	checkText(t, cli(t, s, "log"), "R3", "(drop)", "goes on")
}
