package engine

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/commands"
)

// afterwards is an engine that starts at a moment, with what the commands topic
// has of decisions that were made at now.
func afterwards(t *testing.T, d []Decision, at time.Time) *Engine {
	t.Helper()
	e := newEngine(t)
	for i := range d {
		l := commands.NewLease(d[i].Command, int64(i), now, at)
		e.Command(&l, at)
	}
	return e
}

// TestRelapseIsKnownAfterARestart: a lease that lapsed, or was released, in an
// earlier life is doubled if the attack comes back, for ten minutes.
func TestRelapseIsKnownAfterARestart(t *testing.T) {
	attack := func(at time.Time) (*Engine, []Decision) {
		e := newEngine(t)
		r := record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1))
		r.End = at
		return e, e.Rates(r, at)
	}
	_, first := attack(now)
	for name, c := range map[string]struct {
		restart  time.Duration
		released time.Duration // 0: it lapses
		want     time.Duration
	}{
		"it lapsed a minute ago":       {2 * time.Minute, 0, 2 * time.Minute},
		"it lapsed ten minutes ago":    {11 * time.Minute, 0, 2 * time.Minute},
		"it lapsed eleven minutes ago": {12 * time.Minute, 0, time.Minute},
		"it was released":              {50 * time.Second, 40 * time.Second, 2 * time.Minute},
	} {
		at := now.Add(c.restart)
		e := afterwards(t, first, at)
		if c.released > 0 {
			e.Released(first[0].Key, now.Add(c.released))
		}
		if e.Leases() != 0 {
			t.Fatalf("%s: %d leases live", name, e.Leases())
		}
		r := record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1))
		r.End = at
		d := e.Rates(r, at)
		if len(d) != 1 || d[0].Command.TTL != c.want {
			t.Errorf("%s: %+v, want a lease of %v", name, d, c.want)
		}
	}
}

// TestSparedSourcesStaySparedAfterARestart: a lease that was softened for those
// who are behind the source does not become a drop in another life, when they
// are silent.
func TestSparedSourcesStaySparedAfterARestart(t *testing.T) {
	for name, c := range map[string]struct{ healthy, flood packets }{
		"a drop that became a limit": {packets{syn: 400, tcp: 4000}, packets{syn: 500}},
		"a limit at ten times":       {packets{icmp: 300, tcp: 4000}, packets{icmp: 600}},
	} {
		r := record(source("192.0.2.44", packets{syn: c.healthy.syn, icmp: c.healthy.icmp, tcp: 100}, c.healthy, 10))
		d := newEngine(t).Rates(r, now)
		if len(d) != 1 || d[0].Command.Action != commands.RateLimit {
			t.Fatalf("%s: at first %s", name, brief(d))
		}
		at := now.Add(20 * time.Second)
		e := afterwards(t, d, at)
		mad := record(source("192.0.2.44", c.flood, c.flood, 10))
		mad.End = at
		if out := e.Rates(mad, at); len(out) != 0 {
			t.Errorf("%s: after a restart %s", name, brief(out))
		}
	}
	// One that was not softened has no such benefit.
	r := record(source("203.0.113.9", packets{frag: 3000}, packets{frag: 3000}, 1))
	d := newEngine(t).Rates(r, now)
	e := afterwards(t, d, now)
	if l := e.leases[d[0].Key]; l == nil || l.careful {
		t.Errorf("R5's own limit: %+v", l)
	}
}

// TestAShorterLeaseTakesThePlaceOfALonger: the last record under a key counts,
// even if it has lapsed.
func TestAShorterLeaseTakesThePlaceOfALonger(t *testing.T) {
	e := newEngine(t)
	for _, c := range []commands.Command{
		{Target: e.target("h", "eth0"), Match: commands.Match{Source: netip.MustParsePrefix("203.0.113.9/32")}, Action: commands.Allow, Issuer: "me"},
		{Target: e.target("h", "eth0"), Match: commands.Match{Source: netip.MustParsePrefix("203.0.113.8/32")}, Action: commands.Drop, Issuer: Issuer},
	} {
		for _, c.TTL = range []time.Duration{time.Hour, time.Second} {
			l := commands.NewLease(c, 1, now, now.Add(time.Minute))
			e.Command(&l, now.Add(time.Minute))
		}
	}
	if len(e.allows) != 0 || e.Leases() != 0 {
		t.Errorf("%d allows and %d leases live on", len(e.allows), e.Leases())
	}
}
