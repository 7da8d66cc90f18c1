// Package engine decides. It is a pure function of what it has been told and of
// the time that it is given: it reads no clock, no topic and no file.
package engine

import (
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/baselines"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// Issuer is the policy's, whichever instance writes.
const Issuer = "policy"

// StaleAfter is the age from which rates decide nothing. It is measured by the
// clock of the probe's host; one that is wrong by more is recognised after as
// long.
const StaleAfter = 5 * time.Second

// Step is what a decision does.
type Step uint8

// The steps.
const (
	Issue Step = iota
	Renew
	Release
	Refuse // over the budget: nothing is written but an event
	Alert  // nothing can or may be done: nothing is written but an event
)

// Writes reports whether the step writes to the commands topic.
func (s Step) Writes() bool { return s == Issue || s == Renew || s == Release }

// Decision is one step to be written.
type Decision struct {
	Step      Step
	Key       string
	Command   commands.Command // of Issue and Renew
	Reason    string           // for people
	Interface string           // <host>/<ifname>
	Rule      string
	Measured  float64
	Threshold float64
	Window    time.Duration      // of the measurement; 0: a release or renewal, measured from status to status
	Evidence  *commands.Evidence // of Issue, Refuse and Alert
}

// Options of an engine.
type Options struct {
	Rules     *rules.Rules
	Protected []netip.Prefix // never blocked, besides the reserved ranges
	WholeHost bool           // leases target the host instead of the interface
}

// Engine is the state. It is not safe for concurrent use.
type Engine struct {
	Options
	leases  map[string]*lease                            // own live ones, by key
	held    map[schemas.Target]map[commands.Match]*lease // the same
	past    map[string]past                              // own ended ones, for relapses
	allows  map[string]*commands.Lease                   // of anybody
	watched map[interfaceName]*watched
	// recalled is what was learned of interfaces of which nothing is heard, or not
	// yet: by other instances, or in an earlier life.
	recalled map[interfaceName]*baselines.Record
	sets     map[rules.Mask]*rules.Set // rules with overrides, as they were asked for
	known    map[schemas.Target]int    // leases on sources of quiet hours
	sweptAt  time.Time
	turn     turn // reused from record to record
}

// New returns an engine without leases.
func New(o Options) *Engine {
	return &Engine{
		Options: o, leases: map[string]*lease{}, held: map[schemas.Target]map[commands.Match]*lease{}, past: map[string]past{},
		allows: map[string]*commands.Lease{}, watched: map[interfaceName]*watched{}, recalled: map[interfaceName]*baselines.Record{}, sets: map[rules.Mask]*rules.Set{}, known: map[schemas.Target]int{},
		turn: turn{at: map[netip.Addr]int{}, decided: map[netip.Addr]bool{}},
	}
}

// Leases returns how many of the policy's leases are live.
func (e *Engine) Leases() int { return len(e.leases) }

// SetRules replaces the rules. Leases stand; from now on they are renewed,
// released and escalated by the new ones.
func (e *Engine) SetRules(r *rules.Rules) {
	e.Rules = r
	clear(e.sets)
	for _, w := range e.watched {
		w.set = e.resolve(r.For(w.host, w.ifname))
	}
}

// maxSets bounds the combinations of overrides that are remembered.
const maxSets = 1024

// resolve returns the rules with the overrides of m.
func (e *Engine) resolve(m rules.Mask) *rules.Set {
	s := e.sets[m]
	if s == nil {
		if len(e.sets) >= maxSets {
			clear(e.sets)
		}
		s = e.Rules.Resolve(m)
		e.sets[m] = s
	}
	return s
}

// setFrom returns the rules for a source on an interface.
func (e *Engine) setFrom(w *watched, a netip.Addr) *rules.Set {
	if m := e.Rules.From(w.host, w.ifname, a); m != 0 {
		return e.resolve(m | e.Rules.For(w.host, w.ifname))
	}
	return w.set
}

// setTo returns the rules for a victim behind an interface.
func (e *Engine) setTo(w *watched, a netip.Addr) *rules.Set {
	if m := e.Rules.To(w.host, w.ifname, a); m != 0 {
		return e.resolve(m | e.Rules.For(w.host, w.ifname))
	}
	return w.set
}

// turn is one record as it is judged.
type turn struct {
	*Engine
	r        *rates.Record
	w        *watched
	now      time.Time
	out      []Decision
	attacked bool // some rule held
	hits     []hit
	orders   []order // of one source

	victims []rates.Target      // of one class, all ports together
	at      map[netip.Addr]int  // where each is among them
	decided map[netip.Addr]bool // by their ports
}

// Rates takes one record of the table and returns what follows from it.
func (e *Engine) Rates(r *rates.Record, now time.Time) []Decision {
	if r.Stale {
		return nil
	}
	e.sweep(now)
	w := e.watch(r.Host, r.Interface, now)
	if !w.rates.is(r.End, now) {
		return nil
	}
	t := &e.turn
	t.Engine, t.r, t.w, t.now, t.out, t.attacked = e, r, w, now, nil, false
	if t.w.set.Mode == rules.ModeOff {
		return nil
	}
	for i := range t.w.set.Signatures {
		t.signature(i)
	}
	t.sources()
	t.prefixes()
	t.unexplained()
	t.learn()
	t.r = nil
	return t.out
}

// target is what leases on the interface are written for.
func (e *Engine) target(host, ifname string) schemas.Target {
	if e.WholeHost {
		return schemas.Target{Kind: schemas.TargetHost, Host: host}
	}
	return schemas.Target{Kind: schemas.TargetInterface, Host: host, Interface: ifname}
}

// neverBlocked lists the ranges that no lease of ours names.
func neverBlocked() [7]netip.Prefix {
	v4 := func(a, b byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b}), bits)
	}
	v6 := func(a, b byte, bits int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{a, b}), bits)
	}
	return [7]netip.Prefix{
		v4(0, 0, 8), v4(127, 0, 8), v4(169, 254, 16), v4(224, 0, 3),
		netip.PrefixFrom(netip.IPv6Loopback(), 128), v6(0xfe, 0x80, 10), v6(0xff, 0, 8),
	}
}

// isProtected reports whether p, an address or a prefix, holds what must not be
// blocked.
func (e *Engine) isProtected(p netip.Prefix) bool {
	if p.Addr().Is4In6() {
		return true // no host has such an address on the wire, and no lease can name it
	}
	for _, n := range neverBlocked() {
		if n.Overlaps(p) {
			return true
		}
	}
	for _, n := range e.Protected {
		if n.Overlaps(p) {
			return true
		}
	}
	return false
}
