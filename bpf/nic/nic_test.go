package nic

import (
	"strings"
	"testing"
)

func TestSuspects(t *testing.T) {
	nic := Interface{Name: "eth0", Driver: "ixgbe", MTU: 1500, Ethernet: true, Queues: 8, MaxQueues: 63}
	if got := nic.Suspects(); got != "" {
		t.Errorf("nothing is wrong, but %q", got)
	}
	lro, jumbo, queues := nic, nic, nic
	lro.LRO, jumbo.MTU, queues.Queues = true, 9000, 63
	for want, i := range map[string]Interface{"ethtool -K eth0 lro off": lro, "MTU is 9000": jumbo, "ethtool -L eth0 combined 31": queues} {
		if got := i.Suspects(); !strings.Contains(got, want) || strings.Contains(got, ";") {
			t.Errorf("%q, want %q alone", got, want)
		}
	}
	jumbo.Kind = "veth"
	if got := jumbo.Suspects(); got != "" {
		t.Errorf("a veth has no driver that minds its MTU, but %q", got)
	}
}

func TestVirtual(t *testing.T) {
	for _, c := range []struct {
		nic     Interface
		virtual bool
		what    string
	}{
		{Interface{Driver: "virtio_net"}, false, "virtio_net"},
		{Interface{Kind: "bond", Driver: "bonding"}, false, "bond"},
		{Interface{Kind: "veth", Driver: "veth"}, true, "veth"},
		{Interface{Loopback: true}, true, "loopback"},
		{Interface{}, false, "unknown driver"},
	} {
		if c.nic.Virtual() != c.virtual || c.nic.What() != c.what {
			t.Errorf("%+v: virtual %v, %q; want %v, %q", c.nic, c.nic.Virtual(), c.nic.What(), c.virtual, c.what)
		}
	}
}
