package engine

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
)

// crowdOf is n sources that each send the same.
func crowdOf(n int, p packets) []rates.Source {
	var all []rates.Source
	for i := range uint32(n) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0b000000+i*256+1)
		s := source(netip.AddrFrom4(b).String(), p, p, 1)
		s.Window1s.Bytes, s.Window10s.Bytes = 100*s.Window1s.Packets, 100*s.Window10s.Packets
		all = append(all, s)
	}
	return all
}

func count(all []Decision, s Step, single bool) (n int) {
	for _, d := range all {
		if d.Step == s && d.Command.Match.Source.IsValid() == single {
			n++
		}
	}
	return n
}

// TestMoreAttackersThanTheBudget get one signature for their victim.
func TestMoreAttackersThanTheBudget(t *testing.T) {
	e := newEngine(t)
	r := record(crowdOf(400, packets{syn: 200})...)
	dst := netip.MustParseAddr("198.51.100.1")
	r.Victims = []rates.Target{
		{Destination: dst, Class: schemas.ClassSYN, Protocol: 6, Port: 443, Packets1s: 79_000, Sources1s: 250},
		{Destination: dst, Class: schemas.ClassSYN, Protocol: 6, Port: 80, Packets1s: 1000, Sources1s: 250},
		{Destination: netip.MustParseAddr("198.51.100.2"), Class: schemas.ClassUDP, Protocol: 17, Port: 53, Packets1s: 90_000},
	}
	d := e.Rates(r, now)
	complete(t, d[:256])
	if n := count(d, Issue, true); n != 256 {
		t.Errorf("%d leases on sources, want 256", n)
	}
	last := d[len(d)-1]
	if count(d, Issue, false) != 1 || last.Command.Match.String() != "destination=198.51.100.1/32,protocol=tcp,destination_port=443,tcp_flags=syn+!ack" ||
		last.Command.Action != commands.RateLimit || last.Measured != 144 || last.Threshold != 256 {
		t.Errorf("the last of %d decisions is %+v", len(d), last)
	}
	// The budget is filled up again within a second.
	at := now.Add(time.Second)
	r.End = at
	if n := count(e.Rates(r, at), Issue, true); n != 144 {
		t.Errorf("%d leases a second later, want 144", n)
	}
}

func TestTotalBudget(t *testing.T) {
	e := withRules(t, "overrides:\n  - set: {budget: {total: 10}}\n")
	d := e.Rates(record(crowdOf(20, packets{syn: 200})...), now)
	if n := count(d, Issue, true); n != 10 || e.Leases() != 10 {
		t.Errorf("%d leases, want 10", n)
	}
}

// TestRegularsAreNotAllBlocked: a rule that begins to hold for everybody who was
// there in quiet hours is wrong about most of them.
func TestRegularsAreNotAllBlocked(t *testing.T) {
	e := newEngine(t)
	usual := record(crowdOf(100, packets{tcp: 2})...)
	usual.Window10s.Bytes = 100 * 200
	at := quietly(e, now, 5*time.Minute, usual)
	if n := e.watched[interfaceName{"h", "eth0"}].regulars.count(); n < 70 || n > 130 {
		t.Errorf("estimates %.0f regulars of 100", n)
	}
	mad := record(crowdOf(100, packets{syn: 200})...)
	mad.End, mad.Window10s.Bytes = at, 1_000_000_000
	d := e.Rates(mad, at)
	dropped, limited := 0, 0
	for _, x := range d {
		switch x.Command.Action {
		case commands.Drop:
			dropped++
		case commands.RateLimit:
			limited++
			if !strings.Contains(x.Reason, "many may be behind") {
				t.Errorf("reason %q", x.Reason)
			}
		}
	}
	if dropped < 20 || dropped > 45 || dropped+limited != 100 {
		t.Errorf("%d regulars dropped and %d limited, want about 30 of 100 dropped", dropped, limited)
	}
	// Strangers are dropped all the same.
	stranger := record(source("203.0.113.9", packets{syn: 200}, packets{syn: 200}, 1))
	stranger.End = at
	if got := brief(e.Rates(stranger, at)); got != "R1 203.0.113.9/32 drop" {
		t.Errorf("a stranger: %s", got)
	}
}

// TestMostOfTheBytesStay: the one who sends most of what is no attack is not
// dropped, only limited in what the rule is about.
func TestMostOfTheBytesStay(t *testing.T) {
	for _, c := range []struct {
		share float64
		want  string
	}{{0.8, "rate-limit"}, {0.2, "drop"}} {
		e := newEngine(t)
		usual := record(crowdOf(40, packets{tcp: 20})...)
		at := quietly(e, now, 2*time.Minute, usual)
		r := record(crowdOf(1, packets{syn: 200})...)
		r.Top[0].Window10s.Bytes = uint64(c.share * 1e6)
		r.Window10s.Bytes, r.End = 1e6, at
		d := e.Rates(r, at)
		if len(d) == 0 || string(d[0].Command.Action) != c.want {
			t.Errorf("%.0f %% of the bytes: %s, want %s", 100*c.share, brief(d), c.want)
		}
	}
}

// TestWhoCameWithTheAttackIsNoRegular: seconds before it are not enough.
func TestWhoCameWithTheAttackIsNoRegular(t *testing.T) {
	e := newEngine(t)
	r := record(crowdOf(1, packets{tcp: 20})...)
	at := quietly(e, now, 9*time.Second, r)
	attack := record(source("203.0.113.9", packets{syn: 200}, packets{syn: 200}, 1))
	attack.End = at
	e.Rates(attack, at)
	quietly(e, at, time.Minute, r)
	if e.watched[interfaceName{"h", "eth0"}].regulars.has(r.Top[0].Source) {
		t.Error("a source of the nine seconds before an attack is a regular")
	}
}

func TestAllowReleasesWhatItCovers(t *testing.T) {
	e := newEngine(t)
	d := e.Rates(record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1), source("203.0.114.9", packets{syn: 500}, packets{syn: 500}, 1)), now)
	allow := commands.Lease{Command: commands.Command{Action: commands.Allow, Issuer: "alice", Match: commands.Match{Source: netip.MustParsePrefix("203.0.113.0/24")}}, ExpiresAt: now.Add(time.Hour)}
	allow.Key = allow.Command.Key()
	e.Command(&allow, now)
	s := &status.Record{Host: "h", Interface: "eth0", At: now.Add(time.Second)}
	if out := e.Status(s, false, s.At); len(out) != 0 {
		t.Errorf("another instance's business: %+v", out)
	}
	out := e.Status(s, true, s.At)
	if len(out) != 1 || out[0].Step != Release || out[0].Key != d[0].Key || e.Leases() != 1 {
		t.Errorf("after the allow: %+v", out)
	}
	// A narrower allow is XDP's business: the rest stays blocked.
	one := allow
	one.Match = commands.Match{Source: netip.MustParsePrefix("203.0.114.9/32"), Protocol: 6, DestinationPort: 443}
	one.Key = one.Command.Key()
	e.Command(&one, now)
	s.At = s.At.Add(time.Second)
	if out := e.Status(s, true, s.At); len(out) != 0 {
		t.Errorf("a narrower allow: %+v", out)
	}
}

// TestARuleThatIsTurnedOffLetsGo, however much its leases still drop.
func TestARuleThatIsTurnedOffLetsGo(t *testing.T) {
	for name, more := range map[string]string{
		"off":           "overrides:\n  - {set: {sources: [{id: R1, 'off': true}]}}\n",
		"off for one":   "overrides:\n  - {from: [203.0.113.9], set: {sources: [{id: R1, 'off': true}]}}\n",
		"no decisions":  "overrides:\n  - {hosts: [h], set: {mode: 'off'}}\n",
		"off elsewhere": "overrides:\n  - {hosts: [other], set: {sources: [{id: R1, 'off': true}]}}\n",
	} {
		e := newEngine(t)
		d := e.Rates(record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1)), now)
		var drops uint64
		out, at := drive(e, d[0].Key, now, 5, 500, &drops)
		e.SetRules(withRules(t, more).Rules)
		more, _ := drive(e, d[0].Key, at, 5, 500, &drops)
		want := 1
		if name == "off elsewhere" {
			want = 0
		}
		if len(out) != 0 || steps(more, Release) != want {
			t.Errorf("%s: %d releases, want %d", name, steps(more, Release), want)
		}
	}
}

func TestModes(t *testing.T) {
	loud := record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1))
	observe := withRules(t, "overrides:\n  - {interfaces: [eth0], set: {mode: observe}}\n")
	if got := brief(observe.Rates(loud, now)); got != "R1 203.0.113.9/32 observe" {
		t.Errorf("observe: %s", got)
	}
	if got := brief(observe.Rates(loud, now.Add(time.Second))); got != "" {
		t.Errorf("observe, again: %s", got)
	}
	// Enforcing takes up what was only observed.
	enforce := withRules(t, "")
	observe.SetRules(enforce.Rules)
	d := observe.Rates(loud, now.Add(2*time.Second))
	if brief(d) != "R1 203.0.113.9/32 drop" || d[0].Step != Renew || observe.Leases() != 1 {
		t.Errorf("from observe to enforce: %+v", d)
	}
	off := withRules(t, "overrides:\n  - {hosts: ['?'], set: {mode: 'off'}}\n")
	if got := brief(off.Rates(loud, now)); got != "" {
		t.Errorf("off: %s", got)
	}
}

func TestOverridesDecide(t *testing.T) {
	e := withRules(t, `overrides:
  - {from: [203.0.113.0/24], set: {sources: [{id: R1, all: [{metric: syn, at_least: 900}]}], lease: {first: 5m}}}
  - {to: [198.51.100.1/32], set: {signatures: [{id: S1, packets: 10000}]}}
`)
	five, nine := packets{syn: 500, tcp: 400}, packets{syn: 5000, tcp: 30_000}
	r := record(source("203.0.113.9", five, nine, 1), source("203.0.112.9", five, nine, 1), source("203.0.113.8", packets{syn: 900, tcp: 10}, nine, 1))
	got := e.Rates(r, now)
	if brief(got) != "R1 source=203.0.112.9/32,protocol=tcp,tcp_flags=syn+!ack rate-limit 50; R1 source=203.0.113.8/32,protocol=tcp,tcp_flags=syn+!ack rate-limit 50" {
		t.Errorf("got %s", brief(got))
	}
	if got[0].Command.TTL != time.Minute || got[1].Command.TTL != 5*time.Minute || got[1].Threshold != 900 {
		t.Errorf("got %+v", got)
	}
	if d := e.Rates(flood(5000, 80), now); len(d) != 0 {
		t.Errorf("the victim with another number: %s", brief(d))
	}
	if d := e.Rates(flood(10_000, 80), now); len(d) != 1 {
		t.Errorf("above it: %s", brief(d))
	}
}

// TestBaselineVotes: what an interface is used to is no attack, up to four times
// the rule's own number, and an attack teaches nothing.
func TestBaselineVotes(t *testing.T) {
	e := newEngine(t)
	busy := flood(400, 80)
	if d := newEngine(t).Rates(busy, now); len(d) != 1 {
		t.Fatalf("without a baseline: %s", brief(d))
	}
	usual := *busy
	usual.Victims = nil // below the rule, but as many SYN: of several victims
	at := quietly(e, now, 11*time.Minute, &usual)
	busy.End = at
	if d := e.Rates(busy, at); len(d) != 0 {
		t.Errorf("as usual: %s", brief(d))
	}
	more := flood(1300, 80)
	more.End = at
	if d := e.Rates(more, at); len(d) != 1 {
		t.Errorf("three times as much: %s", brief(d))
	}
	before := e.watched[interfaceName{"h", "eth0"}].usual
	for range 120 {
		at = at.Add(time.Second)
		more.End = at
		e.Rates(more, at)
	}
	after := e.watched[interfaceName{"h", "eth0"}].usual
	if after.classes != before.classes || after.quiet != before.quiet {
		t.Error("an attack was learned as usual")
	}
	much := flood(1200, 80)
	e = newEngine(t)
	usual = *much
	usual.Victims = nil
	at = quietly(e, now, 11*time.Minute, &usual)
	much.End = at
	if d := e.Rates(much, at); len(d) != 1 {
		t.Errorf("four times the rule's number: %s", brief(d))
	}
}

func TestPeakIsThe95thPercentile(t *testing.T) {
	var c classBaseline
	for i := range 1000 {
		pps := 100.0
		if i%25 == 0 { // 4 %
			pps = 50_000
		}
		c.add(pps, 3600)
	}
	if p := c.peak(); p < 100 || p > 3000 {
		t.Errorf("peak %.0f with 4 %% of outliers (average %.0f)", p, c.ewma)
	}
	for range 200 {
		c.add(5000, 3600)
	}
	if p := c.peak(); p < 5000 || p > 7100 {
		t.Errorf("peak %.0f where a sixth is 5,000", p)
	}
	for range 200_000 {
		c.add(10, 3600)
	}
	if p := c.peak(); p < 10 || p > 15 {
		t.Errorf("peak %.0f long after", p)
	}
}

func TestRelapseIsWatchedForLonger(t *testing.T) {
	e := newEngine(t)
	r := record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1))
	at, quiet := now, []time.Duration{}
	for range 4 {
		r.End = at
		d := e.Rates(r, at)
		if len(d) != 1 {
			t.Fatalf("decisions %s", brief(d))
		}
		var drops uint64
		start := at
		for len(quiet) < 10 {
			var out []Decision
			if out, at = drive(e, d[0].Key, at, 1, 0, &drops); steps(out, Release) > 0 {
				break
			}
		}
		quiet = append(quiet, at.Sub(start).Round(time.Second))
	}
	want := "[30s 1m0s 2m0s 4m0s]"
	if got := fmt.Sprint(quiet); got != want {
		t.Errorf("released after %s, want %s", got, want)
	}
}
