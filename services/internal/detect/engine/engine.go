// Package engine decides. It is a pure function of what it has been told and of
// the time that it is given: it reads no clock, no topic and no file.
package engine

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// Issuer is the policy's, whichever instance writes.
const Issuer = "policy"

// StaleAfter is the age from which rates decide nothing.
const StaleAfter = 5 * time.Second

// Step is what a decision does.
type Step uint8

// The steps.
const (
	Issue Step = iota
	Renew
	Release
	Refuse // over the budget: nothing is written but an event
)

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
	leases  map[string]*lease          // own live ones, by key
	past    map[string]past            // own ended ones, for relapses
	allows  map[string]*commands.Lease // of anybody
	budgets map[string]*budget         // by interface
}

// lease is one of the policy's own.
type lease struct {
	command   commands.Command
	rule      string
	threshold float64 // packets per second
	expiresAt time.Time
	renewals  int
	drops     uint64
	dropsAt   time.Time
	busyAt    time.Time // when it last dropped more than the share
	pps       float64
}

type past struct {
	ttl     time.Duration
	endedAt time.Time
}

type budget struct {
	tokens float64
	at     time.Time
	told   time.Time
}

// New returns an engine without leases.
func New(o Options) *Engine {
	return &Engine{Options: o, leases: map[string]*lease{}, past: map[string]past{}, allows: map[string]*commands.Lease{}, budgets: map[string]*budget{}}
}

// Leases returns how many of the policy's leases are live.
func (e *Engine) Leases() int { return len(e.leases) }

var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/3"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// Rates takes one record of the table and returns what follows from it.
func (e *Engine) Rates(r *rates.Record, now time.Time) []Decision {
	if r.Stale || now.Sub(r.End) > StaleAfter {
		return nil
	}
	e.expire(now)
	var out []Decision
	for i := range e.Rules.Signatures {
		out = append(out, e.signature(r, &e.Rules.Signatures[i], now)...)
	}
	for i := range r.Top {
		s := &r.Top[i]
		if e.isProtected(s.Source) {
			continue
		}
		for j := range e.Rules.Sources {
			rule := &e.Rules.Sources[j]
			measured, ok := holds(rule, s)
			if !ok {
				continue
			}
			if d, ok := e.source(r, s, rule, measured, now); ok {
				out = append(out, d)
			}
			if rule.Action == commands.Drop && rule.Cover == rules.CoverAll {
				break // what the other rules could order is in this
			}
		}
	}
	return out
}

func (e *Engine) isProtected(a netip.Addr) bool {
	if a.Is4In6() {
		return true // no host has such an address on the wire, and no lease can name it
	}
	for _, p := range never {
		if p.Contains(a) {
			return true
		}
	}
	for _, p := range e.Protected {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func (e *Engine) target(r *rates.Record) schemas.Target {
	if e.WholeHost {
		return schemas.Target{Kind: schemas.TargetHost, Host: r.Host}
	}
	return schemas.Target{Kind: schemas.TargetInterface, Host: r.Host, Interface: r.Interface}
}

func (e *Engine) source(r *rates.Record, s *rates.Source, rule *rules.Source, measured float64, now time.Time) (Decision, bool) {
	c := commands.Command{
		Target: e.target(r), Match: coverMatch(s.Source, rule.Cover), Action: rule.Action, Issuer: Issuer,
	}
	if rule.Action == commands.RateLimit {
		c.Rate = &commands.Rate{PPS: rule.Rate}
	}
	threshold := *rule.All[0].AtLeast
	c.Reason = fmt.Sprintf("%s %s: %s", rule.ID, rule.Name, explain(rule, s))
	return e.issue(r, c, rule.ID, measured, threshold, rule.Window, true, now)
}

// coverMatch is the match of a lease on a source. An IPv6 address whose lower
// half is zero is how the probe names a /64.
func coverMatch(a netip.Addr, cover rules.Cover) commands.Match {
	bits := a.BitLen()
	if b := a.As16(); a.Is6() && [8]byte(b[8:]) == [8]byte{} {
		bits = 64
	}
	m := commands.Match{Source: netip.PrefixFrom(a, bits)}
	switch cover {
	case rules.CoverSYN:
		m.Protocol, m.TCPFlags = protocolTCP, openingFlags
	case rules.CoverICMP:
		m.Protocol = protocolICMP
		if a.Is6() {
			m.Protocol = protocolICMPv6
		}
	}
	return m
}

// issue writes a lease unless there is one, an allow covers it, or the budget is
// spent.
func (e *Engine) issue(r *rates.Record, c commands.Command, rule string, measured, threshold float64, window time.Duration, single bool, now time.Time) (Decision, bool) {
	key := c.Key()
	if l := e.leases[key]; l != nil {
		return Decision{}, false
	}
	if e.isAllowed(&c, r.Host, r.Interface, now) {
		return Decision{}, false
	}
	name := schemas.InterfaceKey(r.Host, r.Interface)
	d := Decision{Key: key, Reason: c.Reason, Interface: name, Rule: rule, Measured: measured, Threshold: threshold}
	if single && !e.spend(name, now) {
		b := e.budgets[name]
		if now.Sub(b.told) < time.Second {
			return Decision{}, false
		}
		b.told = now
		d.Step, d.Reason = Refuse, fmt.Sprintf("budget: more than %d new source leases per second, or %d in all; not blocking for %s", e.Rules.Budget.PerSecond, e.Rules.Budget.Total, c.Reason)
		return d, true
	}
	c.TTL = e.ttl(key, now)
	c.Evidence = &commands.Evidence{
		Rule: rule, Measured: measured, Threshold: threshold, Window: window.String(), Interface: name,
		BootID: r.BootID, Seq: r.Seq, Partition: r.EvidencePartition, Offset: r.EvidenceOffset,
	}
	e.leases[key] = &lease{command: c, rule: rule, threshold: threshold / window.Seconds(), expiresAt: now.Add(c.TTL), busyAt: now}
	d.Command = c
	return d, true
}

// ttl is the first lease's, or double the last one's if that ended not long ago.
func (e *Engine) ttl(key string, now time.Time) time.Duration {
	l := &e.Rules.Lease
	if p, ok := e.past[key]; ok && now.Sub(p.endedAt) <= l.Relapse {
		return min(2*p.ttl, l.Longest)
	}
	return l.First
}

func (e *Engine) spend(name string, now time.Time) bool {
	b := e.budgets[name]
	limit := float64(e.Rules.Budget.PerSecond)
	if b == nil {
		b = &budget{tokens: limit, at: now}
		e.budgets[name] = b
	}
	b.tokens = min(limit, b.tokens+limit*now.Sub(b.at).Seconds())
	b.at = now
	if b.tokens < 1 || len(e.leases) >= e.Rules.Budget.Total {
		return false
	}
	b.tokens--
	return true
}

func (e *Engine) isAllowed(c *commands.Command, host, ifname string, now time.Time) bool {
	for _, a := range e.allows {
		if !a.Live(now) || !a.Target.Matches(host, ifname) {
			continue
		}
		m := &a.Match
		if m.Source.IsValid() && !m.Destination.IsValid() && c.Match.Source.IsValid() && m.Source.Overlaps(c.Match.Source) && m.Source.Bits() <= c.Match.Source.Bits() {
			return true
		}
		if m.Destination.IsValid() && !m.Source.IsValid() && c.Match.Destination.IsValid() && m.Destination.Overlaps(c.Match.Destination) && m.Destination.Bits() <= c.Match.Destination.Bits() {
			return true
		}
	}
	return false
}

func (e *Engine) expire(now time.Time) {
	for key, l := range e.leases {
		if !now.Before(l.expiresAt) {
			e.end(key, l, l.expiresAt)
		}
	}
	for key, p := range e.past {
		if now.Sub(p.endedAt) > e.Rules.Lease.Relapse {
			delete(e.past, key)
		}
	}
	for key, a := range e.allows {
		if !a.Live(now) {
			delete(e.allows, key)
		}
	}
}

func (e *Engine) end(key string, l *lease, at time.Time) {
	delete(e.leases, key)
	e.past[key] = past{ttl: l.command.TTL, endedAt: at}
}

// Failed takes back a decision that could not be written.
func (e *Engine) Failed(d *Decision) {
	if d.Step == Issue {
		delete(e.leases, d.Key)
	}
}
