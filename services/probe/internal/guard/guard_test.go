package guard

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-net/weir/schemas/commands"
)

func facts() *Facts {
	return &Facts{
		Own:       []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")},
		Gateways:  []netip.Addr{netip.MustParseAddr("198.51.100.254")},
		Resolvers: []netip.Addr{netip.MustParseAddr("192.0.2.53")},
		Brokers:   []Broker{{netip.MustParseAddr("192.0.2.9"), 9092}},
		Protected: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28")},
	}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct{ match, want string }{
		{"203.0.113.99/32", ""},
		{"203.0.0.0/16", "overlaps the protected prefix"},
		{"203.0.113.3/32", "overlaps the protected prefix 203.0.113.0/28"},
		{"0.0.0.0/0", "shorter than /16"},
		{"::/0", "shorter than /32"},
		{"198.50.0.0/15", "shorter than /16"},
		{"198.51.100.1/32", "this host's own address"},
		{"2001:db8::/64", "this host's own address"},
		{"198.51.100.254/32", "default gateway"},
		{"192.0.2.53/32", "resolver"},
		{"192.0.2.9/32", "broker"},
		{"source=192.0.2.9/32,protocol=udp", "broker"},
		{"127.0.0.1/32", "loopback"},
		{"169.254.0.0/16", "link-local"},
		{"fe80::1/128", "link-local"},
		{"224.0.0.5/32", "multicast"},
		{"ff02::/64", "multicast"},
		{"0.0.0.0/32", "this network"},
		{"destination=198.51.100.1/32,protocol=tcp,destination_port=80,tcp_flags=syn+!ack", ""},
		{"destination=198.51.100.1/32,protocol=udp,source_port=53", ""},
		{"destination=198.51.100.1/32", "cut the connection to the broker"},
		{"destination=198.51.100.1/32,protocol=tcp", "cut the connection to the broker"},
		{"destination=198.51.100.1/32,protocol=tcp,source_port=9092", "cut the connection to the broker"},
		{"destination=198.51.100.1/32,protocol=tcp,source_port=443", ""},
		{"destination=198.51.100.1/32,protocol=tcp,destination_port=80", ""},
		{"destination=198.51.100.0/24,protocol=tcp,tcp_flags=ack", "cut the connection to the broker"},
		{"destination=203.0.113.77/32", ""},
		{"destination=0.0.0.0/1", "shorter than /16"},
	} {
		m, err := commands.ParseMatch(c.match)
		if err != nil {
			t.Fatalf("%s: %v", c.match, err)
		}
		for _, action := range []commands.Action{commands.Drop, commands.RateLimit} {
			err := facts().Judge(&commands.Command{Action: action, Match: m})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s %s: %v, want %q", action, c.match, err, c.want)
			}
		}
		if err := facts().Judge(&commands.Command{Action: commands.Allow, Match: m}); err != nil {
			t.Errorf("allow %s: %v", c.match, err)
		}
	}
}

func TestCouldCut(t *testing.T) {
	for match, want := range map[string]bool{
		"203.0.113.99/32": false, // one foreign source: not the way to the brokers
		"destination=198.51.100.1/32,protocol=tcp,destination_port=80,tcp_flags=syn+!ack": false,
		"destination=198.51.100.1/32,protocol=udp":                                        false,
		"destination=203.0.113.77/32,protocol=tcp":                                        true,
		"192.0.0.0/16": true,
	} {
		m, err := commands.ParseMatch(match)
		if err != nil {
			t.Fatal(err)
		}
		if got := facts().CouldCut(&commands.Command{Action: commands.Drop, Match: m}); got != want {
			t.Errorf("%s: %v, want %v", match, got, want)
		}
	}
}

func TestHostTables(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("net/route", "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"+
		"eth0\t00000000\tFE6433C6\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"+
		"eth0\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n")
	write("net/ipv6_route", "00000000000000000000000000000000 00 00000000000000000000000000000000 00 20010db8000000000000000000000001 00000400 1 0 3 eth0\n"+
		"fe800000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 1 0 1 eth0\n")
	write("resolv.conf", "# comment\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\nsearch example.net\n")
	got := Gateways(dir)
	if len(got) != 2 || got[0] != netip.MustParseAddr("198.51.100.254") || got[1] != netip.MustParseAddr("2001:db8::1") {
		t.Errorf("gateways %v", got)
	}
	if r := Resolvers(filepath.Join(dir, "resolv.conf")); len(r) != 2 || r[0] != netip.MustParseAddr("192.0.2.53") || r[1] != netip.MustParseAddr("fe80::1") {
		t.Errorf("resolvers %v", r)
	}
	if len(Own()) == 0 {
		t.Error("this host has no address")
	}
}
