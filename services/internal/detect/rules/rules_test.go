package rules

import (
	"bytes"
	"strings"
	"testing"
)

func TestDefaultsAreValid(t *testing.T) {
	r, err := Load("")
	if err != nil {
		t.Fatal(err)
	}
	ids := []string{}
	for _, s := range r.Sources {
		ids = append(ids, s.ID)
	}
	for _, s := range r.Signatures {
		ids = append(ids, s.ID)
	}
	for _, p := range r.Prefixes {
		ids = append(ids, p.ID)
	}
	ids = append(ids, r.Unexplained.ID)
	if got := strings.Join(ids, " "); got != "R1 R2 R3 R4 R5 R6 R7 S1 S2 S3 S4 P1 S5" {
		t.Errorf("rules %s", got)
	}
}

// TestErrorsNameLineAndField breaks the defaults in one place each.
func TestErrorsNameLineAndField(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"window: 10s\n    all:", "window: 7s\n    all:", "sources.1.window: want 1s or 10s"},
		{"{metric: syn, at_least: 100}", "{metric: sin, at_least: 100}", "sources.0.all.0.metric"},
		{"{metric: syn, at_least: 100}", "{metric: syn}", "sources.0.all.0"},
		{"id: R2", "id: R1", "sources.1.id: want an id of its own"},
		{"rate: 5\n", "rate: 0\n", "sources.1.rate"},
		{"cover: icmp", "cover: ping", "sources.3.cover: want all, syn, udp, icmp, fragments or dominant"},
		{"class: syn\n", "class: sin\n", "signatures.0.class"},
		{"renew_share: 0.5", "renew_share: 5", "lease.renew_share"},
		{"per_second: 256", "per_second: 0", "budget.per_second"},
		{"first: 60s", "frist: 60s", "lease.frist: want first, longest, quiet, relapse or renew_share; there is no such field"},
		{"version: 1", "version: 2", "version: want 1"},
	} {
		broken := strings.Replace(string(defaults), c.old, c.new, 1)
		if broken == string(defaults) {
			t.Fatalf("%q is not in the defaults", c.old)
		}
		_, err := Parse("my.yaml", []byte(broken))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "my.yaml") {
			t.Errorf("%q for %q: error %v, want %q", c.new, c.old, err, c.want)
			continue
		}
		line := 1 + bytes.Count(defaults[:bytes.Index(defaults, []byte(c.old))], []byte("\n"))
		if !strings.Contains(err.Error(), ":"+itoa(line)+":") && !strings.Contains(err.Error(), "line "+itoa(line)) {
			t.Errorf("%q: error %v does not name line %d", c.new, err, line)
		}
	}
}

func itoa(n int) string {
	s := ""
	for ; n > 0; n /= 10 {
		s = string(rune('0'+n%10)) + s
	}
	return s
}
