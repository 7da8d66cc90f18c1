package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/schemas/status"
)

// TestProbeChoosesTCX leaves the mode to the probe, on a veth. It must choose
// TCX, say so and why, and count and drop every packet of a flood all the same.
func TestProbeChoosesTCX(t *testing.T) {
	s := enforcing(t, scenario.Options{
		Services: []stack.Service{stack.Probe},
		Env:      map[stack.Service][]string{stack.Probe: {"WEIR_PROBE_XDP_MODE=auto"}},
	})
	var interfaces []struct {
		Status status.Record `json:"status"`
	}
	if err := json.Unmarshal([]byte(cli(t, s, "status", "-o", "json")), &interfaces); err != nil || len(interfaces) != 1 {
		t.Fatalf("%d interfaces, %v", len(interfaces), err)
	}
	if got := interfaces[0].Status; got.XDPMode != "tcx" || !strings.Contains(got.XDPReason, "segmentation offload") {
		t.Errorf("mode %s: %s", got.XDPMode, got.XDPReason)
	}
	cli(t, s, "block", blocked.String(), "--ttl", "5m")
	before := s.Counts.Sums()
	flood, err := s.Crew.Raw(traffic.RawFlood{
		Destination: lab.VictimAddress, Port: 9, UDP: true, Payload: 100, Count: 100_000, Sources: []netip.Addr{blocked},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	last, err := flood.Wait()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "counts", func() error {
		sums := s.Counts.Sums()
		counted := sums.Total.ByClass[4] - before.Total.ByClass[4]
		dropped := sums.Total.Dropped - before.Total.Dropped
		if counted != last.Packets || dropped != last.Packets || len(sums.Missing) > 0 {
			return fmt.Errorf("%d sent, %d counted, %d dropped, missing %v", last.Packets, counted, dropped, sums.Missing)
		}
		return nil
	})
}
