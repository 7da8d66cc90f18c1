package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/crew"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/replay"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/schemas"
)

// outage is how long a killed broker stays away: WEIR_E2E_OUTAGE, 30s for the
// full length.
func outage(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("WEIR_E2E_OUTAGE")
	if text == "" {
		return 6 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// flooded is a scenario under a UDP flood that the policy has stopped, on an
// embedded broker.
func flooded(t *testing.T) (*scenario.Scenario, *crew.Flood) {
	t.Helper()
	return floodedOn(t, "")
}

// floodedOn is flooded on the given brokers.
func floodedOn(t *testing.T, brokers string) (*scenario.Scenario, *crew.Flood) {
	t.Helper()
	s := enforcing(t, scenario.Options{Brokers: brokers})
	flood, err := s.Crew.Raw(traffic.RawFlood{
		Destination: lab.VictimAddress, Port: 9, UDP: true, Payload: 32, PPS: 10_000,
		Sources: traffic.SourcesOf(lab.UDPAttackers, 4),
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the flood is dropped", func() error {
		from := mark(t, s)
		time.Sleep(50 * time.Millisecond)
		return from.allDropped(t, s)
	})
	return s, flood
}

// position is how many packets were sent to the victim and how many of all
// packets XDP has dropped.
type position struct{ sent, dropped uint64 }

// mark reads both, so that sent is not behind.
func mark(t *testing.T, s *scenario.Scenario) position {
	t.Helper()
	dropped := drops(t, s)
	wire, err := s.Lab.Wire(lab.Clients)
	if err != nil {
		t.Fatal(err)
	}
	return position{sent: wire.SentPackets, dropped: dropped}
}

// allDropped returns nil if whatever was sent since was dropped, but for what
// is under way. It compares counters and not times: on a busy machine the
// flood itself may pause.
func (from position) allDropped(t *testing.T, s *scenario.Scenario) error {
	t.Helper()
	const underWay = 100
	var passed uint64
	for range 50 {
		now := mark(t, s)
		sent, dropped := now.sent-from.sent, now.dropped-from.dropped
		passed = sent - min(sent, dropped)
		if sent > 0 && dropped > 0 && passed <= underWay {
			return nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	return fmt.Errorf("%d packets passed", passed)
}

// stillDropping checks for so long that the filter works, and that nothing
// passed.
func stillDropping(t *testing.T, s *scenario.Scenario, length time.Duration) {
	t.Helper()
	from := mark(t, s)
	for deadline := time.Now().Add(length); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err := from.allDropped(t, s); err != nil {
			t.Fatalf("the filter stopped: %v", err)
		}
	}
}

// settle ends the flood and checks that every packet was counted exactly once
// and that the rates are fresh and declare no loss.
func settle(t *testing.T, s *scenario.Scenario, flood *crew.Flood) {
	t.Helper()
	freshRates(t, s)
	last, err := flood.Stop()
	if err != nil {
		t.Fatal(err)
	}
	err = await(15*time.Second, func() error {
		sums := s.Counts.Sums()
		if got := sums.Total.ByClass[schemas.ClassUDP]; got != last.Packets {
			return fmt.Errorf("counted %d UDP packets of %d sent", got, last.Packets)
		}
		if len(sums.Missing) > 0 {
			return fmt.Errorf("missing: %v", sums.Missing)
		}
		return nil
	})
	if err != nil {
		t.Errorf("counts are not complete: %v", err)
	}
	for _, wrong := range replay.Consistency(s.Counts.Sums()) {
		t.Error(wrong)
	}
	rates := s.Rates.All()
	if r := rates[len(rates)-1]; r.Err != nil || r.Rates.LostWindows > 0 {
		t.Errorf("the last rates record: %v, %d lost windows", r.Err, r.Rates.LostWindows)
	}
}

// freshRates waits for rates of a window that ended after this call, with the
// flood in them.
func freshRates(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	from := time.Now()
	eventually(t, 20*time.Second, "fresh rates", func() error { return currentRates(s, from) })
}

// currentRates returns nil if there are rates of a window that ended after from,
// with the flood in them.
func currentRates(s *scenario.Scenario, from time.Time) error {
	rates := s.Rates.All()
	if len(rates) == 0 {
		return errors.New("no rates at all")
	}
	r := rates[len(rates)-1]
	switch {
	case r.Err != nil:
		return r.Err
	case r.Rates.End.Before(from):
		return fmt.Errorf("the last window ended %v ago", time.Since(r.Rates.End))
	case r.Rates.PPS < 5000 || r.Rates.PPS > 20_000:
		return fmt.Errorf("%.0f pps, the flood has 10000", r.Rates.PPS)
	}
	return nil
}

// TestKillOfAnyService kills each service in the middle of a flood and starts
// it again.
func TestKillOfAnyService(t *testing.T) {
	for _, service := range []stack.Service{stack.Probe, stack.Aggregator, stack.Policy} {
		t.Run(string(service), func(t *testing.T) {
			s, flood := flooded(t)
			if err := s.Stack.Kill(service); err != nil {
				t.Fatal(err)
			}
			stillDropping(t, s, 2*time.Second)
			if err := s.Stack.Launch(service); err != nil {
				t.Fatal(err)
			}
			if err := s.Stack.Await(within(t, 40*time.Second), service); err != nil {
				t.Fatal(err)
			}
			stillDropping(t, s, time.Second)
			settle(t, s, flood)
		})
	}
}

// TestBrokerOutage kills the broker in the middle of a flood for a while.
func TestBrokerOutage(t *testing.T) {
	s, flood := flooded(t)
	if err := s.Stack.Kill(stack.Broker); err != nil {
		t.Fatal(err)
	}
	stillDropping(t, s, outage(t))
	if err := s.Stack.Launch(stack.Broker); err != nil {
		t.Fatal(err)
	}
	if err := s.Stack.AwaitBroker(within(t, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	stillDropping(t, s, 2*time.Second)
	settle(t, s, flood)
}

// TestOrderlyRestart stops and starts each service as an upgrade does: nothing
// is lost and the filter holds.
func TestOrderlyRestart(t *testing.T) {
	s, flood := flooded(t)
	for _, service := range []stack.Service{stack.Probe, stack.Aggregator, stack.Policy} {
		if err := s.Stack.Stop(service, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		stillDropping(t, s, 500*time.Millisecond)
		if err := s.Stack.Launch(service); err != nil {
			t.Fatal(err)
		}
		if err := s.Stack.Await(within(t, 40*time.Second), service); err != nil {
			t.Fatal(err)
		}
	}
	settle(t, s, flood)
}
