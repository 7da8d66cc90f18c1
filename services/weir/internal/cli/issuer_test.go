package cli

import (
	"strings"
	"testing"
)

func TestWhoami(t *testing.T) {
	for _, c := range []struct {
		flag, env, user, host, want string
	}{
		{"ops", "alice", "bob", "desk", "ops"},
		{"", "alice", "bob", "desk", "alice"},
		{"", "", "bob", "desk", "bob@desk"},
		{"", "", "Jürgen Q", "desk.example.org", "J-rgen-Q@desk.example.org"},
		{"", "", "", "", "unknown@unknown"},
		{"", "", strings.Repeat("x", 100), "desk", strings.Repeat("x", 64)},
	} {
		a := &app{issuer: c.flag, Env: Env{
			Getenv:   func(k string) string { return map[string]string{"USER": c.user, "WEIR_ISSUER": c.env}[k] },
			Hostname: func() (string, error) { return c.host, nil },
		}}
		if got, err := a.whoami(); err != nil || got != c.want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}

func TestParseRate(t *testing.T) {
	for text, want := range map[string][2]uint64{
		"500pps": {500, 0}, "10mbps": {0, 10_000_000}, "1.5kpps,2Gbps": {1500, 2_000_000_000}, "1bps, 1pps": {1, 1},
	} {
		r, err := parseRate(text)
		if err != nil || r.PPS != want[0] || r.BPS != want[1] {
			t.Errorf("%q: %+v, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "500", "pps", "-5pps", "0pps", "NaNpps", "1e20pps", "5pps,6pps", "5pps,"} {
		if r, err := parseRate(text); err == nil {
			t.Errorf("%q reads as %+v", text, r)
		}
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[float64]string{0: "0", 999: "999", 999.6: "1.0k", 12_345: "12.3k", 4e6: "4.0M", 1.5e9: "1.5G", 2e15: "2000.0T"} {
		if got := count(n); got != want {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
}
