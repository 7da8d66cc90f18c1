package xdp

import (
	"net/netip"
	"testing"
)

// TestEstablishedSourcesPassALimitOnSYN limits SYN to one per second: a source
// that conversed before the limit opens connections all the same, one that
// only sends SYN does not, and a drop or a limit on all packets spares nobody.
func TestEstablishedSourcesPassALimitOnSYN(t *testing.T) {
	const flagACK = 0x10
	destination := netip.MustParsePrefix("198.51.100.1/32")
	syn := Match{Destination: destination, Protocol: 6, DestinationPort: 80, FlagMask: flagSYN | flagACK, FlagValue: flagSYN}
	for _, c := range []struct {
		name   string
		lease  Entry
		passes bool
	}{
		{"limit on SYN", Entry{Match: syn, Action: ActionRateLimit, PPS: 1}, true},
		{"drop of SYN", Entry{Match: syn, Action: ActionDrop}, false},
		{"limit on TCP", Entry{Match: Match{Destination: destination, Protocol: 6}, Action: ActionRateLimit, PPS: 1}, false},
	} {
		r := newRig(t, Config{})
		ack := ethernet(0x0800).ipv4("192.0.2.1", "198.51.100.1", 6, 0).tcp(1234, 80, flagACK)
		r.run(0, ack, establishedPackets)
		if _, err := r.Drain(); err != nil {
			t.Fatal(err)
		}
		r.Commit()
		r.put(c.lease)
		got := reasonsOf(t, r, func() { r.run(0, synFrom("192.0.2.1"), 100) })
		dropped := got["limit_signature"] + got["drop_signature"]
		if passes := dropped == 0; passes != c.passes || dropped != 0 && dropped < 99 {
			t.Errorf("%s: established source: %v", c.name, got)
		}
		got = reasonsOf(t, r, func() { r.run(0, synFrom("192.0.2.2"), 100) })
		if dropped := got["limit_signature"] + got["drop_signature"]; dropped < 99 {
			t.Errorf("%s: unknown source: %v", c.name, got)
		}
	}
}
