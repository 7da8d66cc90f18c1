package rules

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const overrides = `groups:
  proxies: [192.0.2.0/24, '2001:db8:7::/48']
overrides:
  - name: load balancers
    hosts: [edge-*]
    set:
      sources:
        - {id: R1, all: [{metric: syn, at_least: 500}]}
        - {id: R2, rate: 50}
      lease: {first: 5m}
      link: 1e10
  - name: one interface
    hosts: [edge-1]
    interfaces: ['eth?']
    set:
      mode: observe
      sources: [{id: R1, all: [{metric: syn, at_least: 700}]}]
  - name: proxies
    from: [proxies, 198.51.100.7]
    set: {sources: [{id: R2, off: true}]}
  - name: the name server
    to: [203.0.113.53/32]
    set: {signatures: [{id: S2, packets: 5000}]}
`

func parse(t *testing.T, more string) *Rules {
	t.Helper()
	r, err := Parse("my.yaml", []byte(string(defaults)+more))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOverrides(t *testing.T) {
	r := parse(t, overrides)
	plain := r.Resolve(r.For("web-1", "eth0"))
	if *plain.Sources[0].All[0].AtLeast != 100 || plain.Lease.First != time.Minute || plain.Mode != ModeEnforce {
		t.Errorf("a host without overrides has %+v", plain)
	}
	edge := r.Resolve(r.For("edge-2", "eth0"))
	if *edge.Sources[0].All[0].AtLeast != 500 || *edge.Sources[0].All[1].AtLeast != 0.5 || edge.Sources[0].Cover != CoverAll {
		t.Errorf("R1 of edge-2: %+v", edge.Sources[0])
	}
	if edge.Sources[1].Rate != 50 || *edge.Sources[1].All[0].AtLeast != 60 || edge.Lease.First != 5*time.Minute || edge.Lease.Longest != time.Hour || edge.Link != 1e10 || edge.Mode != ModeEnforce {
		t.Errorf("edge-2: %+v", edge)
	}
	one := r.Resolve(r.For("edge-1", "eth3"))
	if *one.Sources[0].All[0].AtLeast != 700 || one.Mode != ModeObserve || one.Lease.First != 5*time.Minute {
		t.Errorf("edge-1/eth3: %+v", one)
	}
	if m := r.For("edge-1", "eth10"); r.Resolve(m).Mode != ModeEnforce {
		t.Error("eth? takes eth10")
	}
	for a, off := range map[string]bool{"192.0.2.9": true, "2001:db8:7:1::": true, "198.51.100.7": true, "198.51.100.8": false} {
		if got := r.Resolve(r.From("h", "e", netip.MustParseAddr(a))).Sources[1].Off; got != off {
			t.Errorf("R2 is off for %s: %v", a, got)
		}
	}
	if r.From("h", "e", netip.MustParseAddr("203.0.113.53")) != 0 {
		t.Error("an override about victims holds for a source")
	}
	to := r.Resolve(r.To("h", "e", netip.MustParseAddr("203.0.113.53")))
	if s := &to.Signatures[1]; s.ID != "S2" || s.Packets != 5000 || s.Sources != 8 || len(s.Ports) < 20 || s.Class != r.Signatures[1].Class {
		t.Errorf("S2 for the name server: %+v", s)
	}
	// Nothing of this changes the rules themselves.
	if *r.Sources[0].All[0].AtLeast != 100 || r.Sources[1].Off || r.Signatures[1].Packets != 100 {
		t.Error("an override has changed the rules")
	}
}

// TestOverrideErrorsNameLineAndField breaks the overrides in one place each.
func TestOverrideErrorsNameLineAndField(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"hosts: [edge-*]", "hosts: ['[edge']", "overrides.0.hosts.0: want a name, or a pattern"},
		{"{id: R2, rate: 50}", "{id: R9, rate: 50}", "overrides.0.set.sources.1.id: want the id of one of the rules"},
		{"{id: R2, rate: 50}", "{id: R2, rate: 0}", "overrides.0.set.sources.1.rate: want packets per second, 1 or more"},
		{"{id: R2, rate: 50}", "{id: R2, rate: fast}", "overrides.0.set.sources.1.rate: want a whole number"},
		{"lease: {first: 5m}", "lease: {first: 5h}", "overrides.0.set.lease.longest: want at least lease.first"},
		{"lease: {first: 5m}", "lease: {frist: 5m}", "overrides.0.set.lease.frist: want first,"},
		{"mode: observe", "mode: watch", "overrides.1.set.mode: want enforce, observe or off"},
		{"from: [proxies, 198.51.100.7]", "from: [proxis]", "overrides.2.from.0: want a prefix such as 192.0.2.0/24, or the name of a group"},
		{"from: [proxies, 198.51.100.7]", "from: [198.51.100.7/24]", "overrides.2.from.0"},
		{"set: {sources: [{id: R2, off: true}]}", "set: {budget: {total: 9}}", "overrides.2.set.budget: want an override without from and to"},
		{"set: {signatures: [{id: S2, packets: 5000}]}", "set: {}", "overrides.3.set: want what differs"},
		{"set: {signatures: [{id: S2, packets: 5000}]}", "set: {signatures: [{id: S2, packets: 0}]}", "overrides.3.set.signatures.0.packets: want 1 or more"},
		{"proxies: [192.0.2.0/24,", "proxies: [192.0.2.1/24,", "groups.proxies.0: want a prefix"},
	} {
		whole := string(defaults) + overrides
		broken := strings.Replace(whole, c.old, c.new, 1)
		if broken == whole {
			t.Fatalf("%q is not in the overrides", c.old)
		}
		_, err := Parse("my.yaml", []byte(broken))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q for %q: error %v, want %q", c.new, c.old, err, c.want)
			continue
		}
		line := 1 + bytes.Count([]byte(whole)[:strings.Index(whole, c.old)], []byte("\n"))
		if !strings.HasPrefix(err.Error(), "my.yaml:"+itoa(line)+": ") {
			t.Errorf("%q: error %v does not name line %d", c.new, err, line)
		}
	}
}

func TestEveryErrorIsListed(t *testing.T) {
	broken := strings.NewReplacer("rate: 200", "rate: 0", "renew_share: 0.5", "renew_share: 5", "factor: 4", "factor: 0").Replace(string(defaults))
	_, err := Parse("my.yaml", []byte(broken))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"sources.4.rate: want packets per second, 1 or more", "lease.renew_share: want above 0 and at most 1", "unexplained.factor: want 1 or more"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	if n := strings.Count(err.Error(), "my.yaml:"); n != 3 {
		t.Errorf("%d errors, want 3: %v", n, err)
	}
}

func TestNoRulesAreAnError(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "[]", "version: one", "version: 1\nsources: {}\n", "version: 1\nlease:\n", "\tversion: 1", "version: 1\nsources: &a [*a]\n"} {
		if _, err := Parse("my.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), "my.yaml") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

// TestAFileNeedNotNameEverything: the rest is as embedded.
func TestAFileNeedNotNameEverything(t *testing.T) {
	r, err := Parse("my.yaml", []byte("version: 1\nlease: {first: 5m}\nprefixes: []\noverrides:\n  - {hosts: [a], set: {mode: observe}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Lease.First != 5*time.Minute || r.Lease.Longest != time.Hour || len(r.Sources) != 7 || len(r.Prefixes) != 0 || r.Resolve(r.For("a", "e")).Mode != ModeObserve {
		t.Errorf("got %+v", r)
	}
	for _, d := range Diff(parse(t, ""), r) {
		if !strings.HasPrefix(d, "lease.first: 60s → 5m") && !strings.HasPrefix(d, "overrides.0.") && !strings.HasPrefix(d, "prefixes.P1.") {
			t.Errorf("difference %q", d)
		}
	}
	r, err = Parse("my.yaml", []byte("version: 1\nsources:\n  - {id: X, window: 1s, all: [{metric: packets, at_least: 100}], action: drop, cover: all}\n"))
	if err != nil || len(r.Sources) != 1 || r.Sources[0].Name != "" || r.Sources[0].DropAbove != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := Parse("my.yaml", []byte("lease: {first: 5m}\n")); err == nil || !strings.Contains(err.Error(), "my.yaml:1: version: want 1") {
		t.Errorf("without a version: %v", err)
	}
}

func TestDiff(t *testing.T) {
	before := parse(t, "")
	if d := Diff(before, parse(t, "# a remark\n")); len(d) != 0 {
		t.Errorf("a remark is a difference: %q", d)
	}
	text := strings.Replace(string(defaults), "{metric: syn_share, at_least: 0.5}", "{metric: syn_share, at_least: 0.6}", 1)
	text = strings.Replace(text, "    drop_above: 300\n", "", 1) + "link: 1000\n"
	after, err := Parse("my.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(Diff(before, after), "\n")
	want := "link: 1000 (new)\nsources.R1.all.syn_share.at_least: 0.5 → 0.6\nsources.R2.drop_above: 300 (gone)"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(string(defaults) + overrides)
	f.Add("version: 1\noverrides: [{set: {lease: {first: 5m}}}]\n")
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse("my.yaml", []byte(text))
		if err != nil {
			return
		}
		for i := range r.Overrides {
			r.Resolve(1 << i)
		}
	})
}
