package cli

import (
	"testing"

	"github.com/weir-net/weir/schemas/status"
)

// TestBrokerOf: a broker that answers, but takes nothing, is not called reachable.
func TestBrokerOf(t *testing.T) {
	for want, l := range map[string]interfaceStatus{
		"reachable":   {State: "live", AgeSeconds: 0.3, Status: status.Record{BrokerReachable: true, Buffered: 1}},
		"refuses":     {State: "live", AgeSeconds: 0.3, Status: status.Record{Buffered: 1}},
		"unreachable": {State: "live", AgeSeconds: 0.3},
		"silent":      {State: "live", AgeSeconds: 6, Status: status.Record{BrokerReachable: true}},
		"-":           {State: "stale", AgeSeconds: 16, Status: status.Record{BrokerReachable: true}},
	} {
		if got := brokerOf(l); got != want {
			t.Errorf("%+v: %s, want %s", l, got, want)
		}
	}
}
