package e2e_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
)

// TestFloodsAreStopped runs the three floods of the demo with ordinary clients
// beside them, on both brokers.
func TestFloodsAreStopped(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, brokers string) {
		s := enforcing(t, scenario.Options{Brokers: brokers})
		clients, err := s.Ordinary(80)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []scenario.Attack{scenario.HTTP(0, 80), scenario.UDP(0), scenario.SYN(0, 80)} {
			o, err := s.Run(within(t, 20*time.Second), a, 4*time.Second, func(scenario.Progress) {})
			if err != nil {
				t.Fatalf("%s: %v", a.Name, err)
			}
			t.Logf("%s: stopped after %v, %d of %d passed, %d source leases, %d signatures, stages %v",
				o.Name, o.TimeToMitigate(), o.Passed(), o.Sent, o.PerSource, o.Signatures, o.Stages)
			if !o.Mitigated() || o.TimeToMitigate() > 1500*time.Millisecond {
				t.Errorf("%s: %+v", a.Name, o)
			}
			if !a.Sources.IsValid() && o.PerSource > 0 {
				t.Errorf("%s: %d leases on single sources", a.Name, o.PerSource)
			}
		}
		if err := clients.Stop(); err != nil {
			t.Fatal(err)
		}
		requests, failures := clients.Count()
		if requests < 500 || failures > 0 {
			t.Errorf("ordinary clients: %d of %d requests failed", failures, requests)
		}
		if err := s.Quiet(within(t, 10*time.Second)); err != nil {
			t.Fatal(err)
		}
		if n := s.Counts.Sums().Of(lab.OrdinarySources).Dropped; n > 0 {
			t.Errorf("%d packets of ordinary clients were dropped", n)
		}
		for _, e := range s.Events.All() {
			if e.Err != nil {
				t.Errorf("event at offset %d: %v", e.Offset, e.Err)
			}
		}
	})
}

// maxProbeMemory bounds the probe's resident memory under a flood of a million
// sources, BPF maps not included: they are allocated once.
const maxProbeMemory = 512 << 20

// TestMillionSpoofedSources floods with SYN from a million made-up sources.
func TestMillionSpoofedSources(t *testing.T) {
	s := enforcing(t, scenario.Options{})
	flood, err := s.Crew.Raw(traffic.RawFlood{Destination: lab.VictimAddress, Port: 80, Count: 1_500_000, PPS: 150_000}, 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	peak := 0
	for done := false; !done; {
		peak = max(peak, resident(t, s))
		time.Sleep(50 * time.Millisecond)
		done = flood.Last().Done
	}
	last, err := flood.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if last.Sources != 1_000_000 {
		t.Fatalf("%d sources were used", last.Sources)
	}
	eventually(t, 15*time.Second, "counts", func() error {
		if got := s.Counts.Sums().Total.ByClass[0]; got != last.Packets {
			return fmt.Errorf("counted %d SYN of %d sent", got, last.Packets)
		}
		return nil
	})
	perSource, signatures := 0, 0
	for _, d := range s.Decisions.All() {
		if d.PerSource() {
			perSource++
		}
		if d.Signature() {
			signatures++
		}
	}
	if perSource > 0 || signatures == 0 {
		t.Errorf("%d leases on single sources, want 0; %d signatures, want some", perSource, signatures)
	}
	t.Logf("resident memory of the probe at most %d MiB", peak>>20)
	if peak > maxProbeMemory {
		t.Errorf("the probe took %d bytes, want at most %d", peak, maxProbeMemory)
	}
}

// resident is the probe's resident memory in bytes.
func resident(t *testing.T, s *scenario.Scenario) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.Stack.Process(stack.Probe).PID()))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(b))
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}
