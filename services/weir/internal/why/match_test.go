package why

import (
	"testing"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

func parse(t *testing.T, s string) *commands.Match {
	t.Helper()
	m, err := commands.ParseMatch(s)
	if err != nil {
		t.Fatal(err)
	}
	return &m
}

func TestCoversAndMeet(t *testing.T) {
	for _, c := range []struct {
		a, b         string
		covers, meet bool
	}{
		{"203.0.113.0/24", "203.0.113.7/32", true, true},
		{"203.0.113.7/32", "203.0.113.0/24", false, true},
		{"203.0.113.0/24", "198.51.100.0/24", false, false},
		{"203.0.113.7/32", "2001:db8::/64", false, false},
		{"203.0.113.7/32", "source=203.0.113.7/32,protocol=tcp,tcp_flags=syn+!ack", true, true},
		{"source=203.0.113.7/32,protocol=tcp,tcp_flags=syn+!ack", "203.0.113.7/32", false, true},
		{"source=203.0.113.7/32,protocol=tcp", "source=203.0.113.7/32,protocol=tcp,tcp_flags=syn+!ack", true, true},
		{"source=203.0.113.7/32,protocol=tcp,tcp_flags=syn+ack", "source=203.0.113.7/32,protocol=tcp,tcp_flags=syn+!ack", false, false},
		{"source=203.0.113.7/32,protocol=tcp,tcp_flags=syn", "source=203.0.113.7/32,protocol=tcp,tcp_flags=syn+!ack", true, true},
		{"source=203.0.113.7/32,protocol=udp", "source=203.0.113.7/32,protocol=tcp", false, false},
		{"203.0.113.7/32", "destination=192.0.2.1/32,protocol=udp,source_port=53", false, true},
		{"destination=192.0.2.1/32", "destination=192.0.2.1/32,protocol=udp,source_port=53", true, true},
		{"destination=192.0.2.1/32,protocol=udp,source_port=123", "destination=192.0.2.1/32,protocol=udp,source_port=53", false, false},
		{"destination=192.0.2.1/32,protocol=udp,source_port=53", "destination=192.0.2.1/32,protocol=udp,destination_port=9", false, true},
	} {
		a, b := parse(t, c.a), parse(t, c.b)
		if got := Covers(a, b); got != c.covers {
			t.Errorf("%s covers %s: %v", c.a, c.b, got)
		}
		if Meet(a, b) != c.meet || Meet(b, a) != c.meet {
			t.Errorf("%s meets %s: %v and %v", c.a, c.b, Meet(a, b), Meet(b, a))
		}
	}
}

func TestTargetsMeet(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"*", "interface:a/eth0", true},
		{"host:a", "interface:a/eth0", true},
		{"host:b", "interface:a/eth0", false},
		{"interface:a/eth0", "interface:a/eth0", true},
		{"interface:a/eth1", "interface:a/eth0", false},
		{"host:a", "host:a", true},
		{"host:a", "host:b", false},
	} {
		a, err := schemas.ParseTarget(c.a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := schemas.ParseTarget(c.b)
		if err != nil {
			t.Fatal(err)
		}
		if TargetsMeet(a, b) != c.want || TargetsMeet(b, a) != c.want {
			t.Errorf("%s and %s: %v and %v", c.a, c.b, TargetsMeet(a, b), TargetsMeet(b, a))
		}
	}
}
