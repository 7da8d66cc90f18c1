package attacks

import (
	"strings"
	"testing"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
)

func match(t *testing.T, s string) *commands.Match {
	t.Helper()
	m, err := commands.ParseMatch(s)
	if err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestTakes(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.7/32":                                                                      "syn synack rst tcp_other udp icmp frag_later other",
		"source=203.0.113.7/32,protocol=tcp":                                                  "syn synack rst tcp_other",
		"source=203.0.113.7/32,protocol=udp":                                                  "udp",
		"source=203.0.113.7/32,protocol=icmp":                                                 "icmp",
		"source=2001:db8::/64,protocol=icmpv6":                                                "icmp",
		"source=203.0.113.7/32,protocol=gre":                                                  "other",
		"source=203.0.113.7/32,fragments=later":                                               "frag_later",
		"destination=192.0.2.1/32,protocol=udp,fragments=later":                               "frag_later",
		"source=203.0.113.7/32,protocol=tcp,tcp_flags=syn+!ack":                               "syn",
		"destination=192.0.2.1/32,protocol=tcp,source_port=443,tcp_flags=syn+ack":             "synack",
		"destination=192.0.2.1/32,protocol=tcp,destination_port=80,tcp_flags=!syn":            "rst tcp_other",
		"destination=192.0.2.1/32,protocol=tcp,destination_port=80,tcp_flags=ack":             "synack rst tcp_other",
		"source=203.0.113.7/32,destination=192.0.2.1/32,protocol=udp,source_port=53":          "udp",
		"source=203.0.113.7/32,destination=192.0.2.1/32,protocol=sctp,destination_port=1":     "other",
		"source=203.0.113.7/32,destination=192.0.2.1/32,protocol=tcp,tcp_flags=fin+psh":       "syn synack rst tcp_other",
		"source=203.0.113.7/32,destination=192.0.2.1/32,protocol=tcp,tcp_flags=fin+!syn+!ack": "rst tcp_other",
		"destination=192.0.2.1/32,protocol=tcp,tcp_flags=rst":                                 "rst",
	} {
		var got []string
		m := match(t, text)
		for class, name := range schemas.ClassNames {
			if Takes(m, schemas.Class(class)) {
				got = append(got, name)
			}
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s takes %q, want %q", text, s, want)
		}
	}
}

func TestSigns(t *testing.T) {
	for _, c := range []struct {
		match    string
		class    schemas.Class
		protocol uint8
		port     uint16
		want     bool
	}{
		{"destination=192.0.2.1/32,protocol=tcp,destination_port=80,tcp_flags=syn+!ack", schemas.ClassSYN, 6, 80, true},
		{"destination=192.0.2.1/32,protocol=tcp,destination_port=80,tcp_flags=syn+!ack", schemas.ClassSYN, 6, 443, false},
		{"destination=192.0.2.1/32,protocol=tcp,destination_port=80,tcp_flags=syn+!ack", schemas.ClassTCPOther, 6, 80, false},
		{"destination=192.0.2.1/32,protocol=tcp,tcp_flags=syn+!ack", schemas.ClassSYN, 6, 443, true},
		{"destination=192.0.2.1/32,protocol=udp,source_port=53", schemas.ClassUDP, 17, 53, true},
		{"destination=192.0.2.1/32,protocol=udp,source_port=53", schemas.ClassUDP, 17, 123, false},
		{"destination=192.0.2.1/32,protocol=udp,source_port=53", schemas.ClassFragLater, 17, 0, false},
		{"destination=192.0.2.1/32,protocol=udp,fragments=later", schemas.ClassFragLater, 17, 0, true},
		{"destination=192.0.2.1/32,protocol=udp,fragments=later", schemas.ClassFragLater, 1, 0, false},
		{"destination=192.0.2.1/32", schemas.ClassOther, 47, 0, true},
	} {
		if got := Signs(match(t, c.match), c.class, c.protocol, c.port); got != c.want {
			t.Errorf("%s, %v to port %d: %v", c.match, c.class, c.port, got)
		}
	}
}

func TestEstimate(t *testing.T) {
	r := rates.Record{Sources10s: 9000, SYNSources10s: 5000, SYNACKSources10s: 40}
	for _, c := range []struct {
		v    rates.Target
		want uint64
	}{
		{rates.Target{Class: schemas.ClassUDP, Sources10s: 12, Packets10s: 900}, 12},
		{rates.Target{Class: schemas.ClassSYN, Sources10s: 260, Packets10s: 90_000}, 5000},
		{rates.Target{Class: schemas.ClassSYN, Sources10s: 260, Packets10s: 700}, 700},
		{rates.Target{Class: schemas.ClassUDP, Sources10s: 260, Packets10s: 90_000}, 9000},
		{rates.Target{Class: schemas.ClassSYNACK, Sources10s: 260, Packets10s: 90_000}, 260},
	} {
		if got := estimate(&r, &c.v); got != c.want {
			t.Errorf("%+v: %d sources, want %d", c.v, got, c.want)
		}
	}
}
