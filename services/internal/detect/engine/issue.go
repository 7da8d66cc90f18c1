package engine

import (
	"fmt"
	"time"

	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// lease is one of the policy's own.
type lease struct {
	command   commands.Command
	rule      string
	threshold float64 // packets per second
	expiresAt time.Time
	issuedAt  time.Time
	before    time.Time // expiresAt as it was before the last renewal
	renewals  int
	tallies   []tally   // by interface: a lease for a host has several
	busyAt    time.Time // when more than the share was last offered to it
	pps       float64   // offered, on all interfaces
	relapse   time.Duration
	careful   bool // never to become a drop
	regular   bool // on a source of quiet hours
}

// tally is what a lease has dropped on one interface.
type tally struct {
	on    interfaceName
	drops uint64
	at    time.Time
	pps   float64 // offered
}

type past struct {
	ttl     time.Duration
	endedAt time.Time
	forget  time.Duration
}

// order is a lease that a rule asks for.
type order struct {
	match     commands.Match
	action    commands.Action
	rate      uint64 // of rate-limit
	set       *rules.Set
	rule      string
	reason    string
	hit       *hit  // the reason, if that is not written down yet
	found     found // or that of a signature
	measured  float64
	threshold float64
	window    time.Duration
	pps       float64 // what renewals are measured by; 0: threshold by window
	single    bool    // counts against the budget
	careful   bool
	regular   bool
}

// explain writes the reason down, which is only worth it where something is to
// be said.
func (o *order) explain() {
	switch {
	case o.found.rule != nil:
		o.reason = o.found.explain()
		return
	case o.hit == nil:
		return
	}
	r := o.hit.rule
	o.reason = r.ID + " " + r.Name + ": " + o.hit.explain()
	if o.careful {
		o.reason += "; limited mildly, since many may be behind it"
	}
	if o.action == commands.Drop && r.Action == commands.RateLimit {
		o.reason += fmt.Sprintf("; dropped, since it sends %d packets/s into its limit (≥ %.0f)", o.hit.s.Window1s.Dropped, r.DropAbove)
	}
}

// strictness orders what leases do to the packets that they match.
func strictness(a commands.Action, rate uint64) float64 {
	switch a {
	case commands.Drop:
		return 3
	case commands.RateLimit:
		return 2 - float64(rate)/1e12
	case commands.Observe:
		return 1
	}
	return 0
}

func rateOf(c *commands.Command) uint64 {
	if c.Rate == nil {
		return 0
	}
	return c.Rate.PPS
}

// issue writes a lease unless there is one as strict, an allow covers it, or the
// budget is spent; in that case it returns false.
func (t *turn) issue(o *order) bool {
	if o.set.Mode == rules.ModeObserve || t.w.set.Mode == rules.ModeObserve {
		o.action = commands.Observe
	}
	if l := t.lookup(t.w.target, o.match, t.now); l != nil {
		l.careful = l.careful || o.careful
		if strictness(o.action, o.rate) > strictness(l.command.Action, rateOf(&l.command)) {
			t.tighten(l, o)
		}
		return true
	}
	c := commands.Command{Target: t.w.target, Match: o.match, Action: o.action, Issuer: Issuer}
	if t.isAllowed(&c.Match, t.w.host, t.w.ifname, t.now) {
		return true
	}
	o.explain()
	if o.single && !t.spend(t.w, t.now) {
		b := &o.set.Budget
		t.alert(Refuse, "budget", time.Second, o, fmt.Sprintf("budget: more than %d new source leases per second, or %d in all; not blocking for %s", b.PerSecond, b.Total, o.reason))
		return false
	}
	if o.action == commands.RateLimit {
		c.Rate = &commands.Rate{PPS: o.rate}
	}
	key := c.Key()
	c.Reason, c.TTL, c.Evidence = o.reason, t.ttl(key, o.set), t.evidence(o)
	if o.pps == 0 {
		o.pps = o.threshold / o.window.Seconds()
	}
	t.hold(key, &lease{command: c, rule: o.rule, threshold: o.pps, issuedAt: t.now, expiresAt: t.now.Add(c.TTL), busyAt: t.now,
		relapse: o.set.Lease.Relapse, careful: o.careful, regular: o.regular})
	if o.single {
		t.w.recent = append(t.w.recent, recentLease{o.match.Source, t.now})
	}
	t.decide(Issue, key, c, o)
	if !o.match.Source.IsValid() && o.action != commands.Observe {
		t.exempt(o)
	}
	return true
}

// tighten makes a lease stricter, for the time that it has.
func (t *turn) tighten(l *lease, o *order) {
	o.explain()
	key := l.command.Key()
	l.command.Action, l.command.Rate, l.command.Reason, l.command.Evidence = o.action, nil, o.reason, t.evidence(o)
	if o.action == commands.RateLimit {
		l.command.Rate = &commands.Rate{PPS: o.rate}
	}
	l.rule, l.busyAt, l.before, l.expiresAt = o.rule, t.now, l.expiresAt, t.now.Add(l.command.TTL)
	if l.threshold = o.pps; o.pps == 0 {
		l.threshold = o.threshold / o.window.Seconds()
	}
	t.decide(Renew, key, l.command, o)
}

func (t *turn) decide(s Step, key string, c commands.Command, o *order) {
	t.out = append(t.out, Decision{Step: s, Key: key, Command: c, Reason: o.reason, Interface: t.w.name, Rule: o.rule,
		Measured: o.measured, Threshold: o.threshold, Window: o.window, Evidence: c.Evidence})
}

// alert adds a decision that writes nothing, at most one about what in again.
func (t *turn) alert(s Step, what string, again time.Duration, o *order, reason string) {
	if !t.w.tell(what, again, t.now) {
		return
	}
	t.out = append(t.out, Decision{Step: s, Reason: reason, Interface: t.w.name, Rule: o.rule,
		Measured: o.measured, Threshold: o.threshold, Window: o.window, Evidence: t.evidence(o)})
	if o.match != (commands.Match{}) {
		c := commands.Command{Target: t.w.target, Match: o.match, Issuer: Issuer}
		t.out[len(t.out)-1].Key = c.Key()
	}
}

func (t *turn) evidence(o *order) *commands.Evidence {
	return &commands.Evidence{
		Rule: o.rule, Measured: o.measured, Threshold: o.threshold, Window: o.window.String(), Interface: t.w.name,
		BootID: t.r.BootID, Seq: t.r.Seq, Partition: t.r.EvidencePartition, Offset: t.r.EvidenceOffset,
	}
}

// ttl is the first lease's, or double the last one's if that ended not long ago.
func (e *Engine) ttl(key string, s *rules.Set) time.Duration {
	if p, ok := e.past[key]; ok {
		return min(2*p.ttl, s.Lease.Longest)
	}
	return s.Lease.First
}

func (e *Engine) isAllowed(m *commands.Match, host, ifname string, now time.Time) bool {
	for _, a := range e.allows {
		if a.Live(now) && a.Target.Matches(host, ifname) && covers(&a.Match, m) {
			return true
		}
	}
	return false
}

// covers reports whether an allow exempts all that a lease matches.
func covers(allow, m *commands.Match) bool {
	switch {
	case allow.Protocol != 0 || allow.Fragments:
		return false
	case allow.Source.IsValid() && !allow.Destination.IsValid() && m.Source.IsValid():
		return allow.Source.Overlaps(m.Source) && allow.Source.Bits() <= m.Source.Bits()
	case allow.Destination.IsValid() && !allow.Source.IsValid() && m.Destination.IsValid():
		return allow.Destination.Overlaps(m.Destination) && allow.Destination.Bits() <= m.Destination.Bits()
	}
	return false
}

// Failed takes back a decision that could not be written.
func (e *Engine) Failed(d *Decision) {
	switch l := e.leases[d.Key]; {
	case l == nil:
	case d.Step == Issue:
		e.drop(d.Key)
	case d.Step == Renew:
		l.expiresAt = l.before // to be tried again
	}
}
