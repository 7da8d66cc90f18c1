package backtest

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
	record "github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/detect/attacks"
	"github.com/weir-net/weir/services/internal/detect/engine"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// statusEvery is how often a probe reports what its leases drop.
const statusEvery = time.Second

// side is one of the two worlds.
type side struct {
	engine   *engine.Engine
	tracker  *attacks.Tracker
	leases   map[string]*lease // live, by key
	scopes   map[schemas.Target]*scope
	whole    bool                 // leases target hosts
	reported map[string]time.Time // last status, by interface
	made     map[string]*Made     // by key
	rules    map[string]*Tally    // by rule
	attacks  map[string]record.Record
	toldAt   time.Time
}

// lease is one that would have been in force.
type lease struct {
	command   commands.Command
	key       string
	expiresAt time.Time
	dropped   map[string]uint64 // packets, by interface, since it was issued
	made      *Made
}

// Made is what one side made of one lease.
type Made struct {
	Rule      string             `json:"rule"`
	Action    commands.Action    `json:"action"`         // the first
	Rate      *commands.Rate     `json:"rate,omitempty"` // the first
	Strongest commands.Action    `json:"strongest"`      // that it came to
	First     time.Time          `json:"first"`          // decision
	Last      time.Time          `json:"last"`           // when it ended, or the history did
	Measured  float64            `json:"measured"`       // of the first decision
	Threshold float64            `json:"threshold"`      // of the first decision
	Reason    string             `json:"reason"`         // of the first decision
	Issued    int                `json:"issued"`
	Renewed   int                `json:"renewed"`
	Released  int                `json:"released"`
	Packets   uint64             `json:"would_drop_packets"` // at most: see the notes
	Evidence  *commands.Evidence `json:"evidence,omitempty"`

	iface string
	match commands.Match
}

// Tally counts what one side did by one rule.
type Tally struct {
	Leases   int    `json:"leases"` // different ones
	Issued   int    `json:"issued"`
	Renewed  int    `json:"renewed"`
	Released int    `json:"released"`
	Refused  int    `json:"refused"` // by the budget
	Alerts   int    `json:"alerts"`
	Packets  uint64 `json:"would_drop_packets"`
}

func newSide(r *rules.Rules, o *Options) *side {
	return &side{
		engine:  engine.New(engine.Options{Rules: r, Protected: o.Protected, WholeHost: o.WholeHost}),
		tracker: attacks.New(), leases: map[string]*lease{}, scopes: map[schemas.Target]*scope{}, whole: o.WholeHost, reported: map[string]time.Time{},
		made: map[string]*Made{}, rules: map[string]*Tally{}, attacks: map[string]record.Record{},
	}
}

func (s *side) allowEnded(key string, now time.Time) {
	if k, err := commands.ParseKey([]byte(key)); err == nil && k.Issuer != engine.Issuer {
		s.engine.Released(key, now)
	}
}

// count notes what the live leases would have dropped of a record's packets.
func (s *side) count(c *counts.Record, now time.Time) {
	name := c.Key()
	sc := s.scope(c.Host, c.Interface, now)
	if sc == nil {
		return
	}
	taken := make([]uint64, len(sc.leases))
	sc.take(c, taken)
	for i, l := range sc.leases {
		n := taken[i]
		if l.command.Action == commands.Allow {
			continue // it passes what it takes
		}
		if l.command.Action == commands.RateLimit && l.command.Rate != nil && l.command.Rate.PPS > 0 {
			n -= min(n, uint64(float64(l.command.Rate.PPS)*c.Duration.Seconds()))
		}
		l.dropped[name] += n
		l.made.Packets += n
		s.tally(l.made.Rule).Packets += n
	}
}

// scope returns the leases in force on an interface, or nil.
func (s *side) scope(host, ifname string, now time.Time) *scope {
	target := schemas.Target{Kind: schemas.TargetInterface, Host: host, Interface: ifname}
	if s.whole {
		target = schemas.Target{Kind: schemas.TargetHost, Host: host}
	}
	sc := s.scopes[target]
	if sc == nil {
		return nil
	}
	for _, l := range slices.Clone(sc.leases) {
		if !now.Before(l.expiresAt) {
			s.end(l, l.expiresAt)
		}
	}
	if len(sc.leases) == 0 {
		return nil
	}
	sc.prepare()
	return sc
}

// decide lets the engine judge a record of the table, and once a second what its
// leases have dropped.
func (s *side) decide(r *rates.Record, now time.Time) {
	s.tracker.Rates(r)
	decisions := s.engine.Rates(r, now)
	for i := range decisions {
		s.take(&decisions[i], r.End, now)
	}
	if len(decisions) > 0 {
		s.tracker.Rates(r)
	}
	if name := r.Key(); now.Sub(s.reported[name]) >= statusEvery {
		s.reported[name] = now
		s.report(r, now)
	}
	if now.Sub(s.toldAt) >= statusEvery {
		s.toldAt = now
		s.tell(now)
	}
}

// report plays the probe: its status says what the leases have dropped.
func (s *side) report(r *rates.Record, now time.Time) {
	st := status.Record{Host: r.Host, Interface: r.Interface, BootID: r.BootID, At: now, Mode: string(commands.ModeEnforce)}
	if sc := s.scope(r.Host, r.Interface, now); sc != nil {
		for _, l := range sc.leases {
			if n := l.dropped[r.Key()]; n > 0 {
				st.Filter.Drops = append(st.Filter.Drops, status.LeaseDrops{Key: l.key, Packets: n})
			}
		}
	}
	s.tracker.Status(&st, func(string) bool { return true }, now)
	decisions := s.engine.Status(&st, true, now)
	slices.SortFunc(decisions, func(a, b engine.Decision) int { return cmp.Compare(a.Key, b.Key) })
	for i := range decisions {
		s.take(&decisions[i], now, now)
	}
}

func (s *side) tell(now time.Time) {
	for _, u := range s.tracker.Due(now, func(string) bool { return true }) {
		if u.Tombstone {
			delete(s.attacks, u.Key)
			continue
		}
		s.attacks[u.Key] = u.Record
	}
}

// take does what a decision says, at once: a probe takes some milliseconds.
func (s *side) take(d *engine.Decision, end, now time.Time) {
	s.tracker.Decided(d, end, now)
	switch d.Step {
	case engine.Issue, engine.Renew:
		s.order(d, now)
	case engine.Release:
		if l := s.leases[d.Key]; l != nil {
			s.tally(l.made.Rule).Released++
			l.made.Released++
			s.end(l, now)
		}
	case engine.Refuse:
		s.tally(d.Rule).Refused++
	case engine.Alert:
		s.tally(d.Rule).Alerts++
	}
}

func (s *side) order(d *engine.Decision, now time.Time) {
	m := s.made[d.Key]
	if m == nil {
		m = &Made{Rule: d.Rule, Action: d.Command.Action, Rate: d.Command.Rate, First: now.UTC(), Measured: d.Measured, Threshold: d.Threshold,
			Reason: d.Reason, Evidence: d.Command.Evidence, iface: d.Interface, match: d.Command.Match}
		s.made[d.Key] = m
		s.tally(d.Rule).Leases++
	}
	if d.Step == engine.Issue {
		m.Issued++
		s.tally(d.Rule).Issued++
	} else {
		m.Renewed++
		s.tally(d.Rule).Renewed++
	}
	if d.Command.Action.Strength() > m.Strongest.Strength() {
		m.Strongest = d.Command.Action
	}
	l := s.leases[d.Key]
	if l == nil {
		l = &lease{key: d.Key, dropped: map[string]uint64{}, made: m}
		s.leases[d.Key] = l
		if s.scopes[d.Command.Target] == nil {
			s.scopes[d.Command.Target] = &scope{}
		}
		s.scopes[d.Command.Target].leases = append(s.scopes[d.Command.Target].leases, l)
	}
	l.command, l.expiresAt = d.Command, now.Add(d.Command.TTL)
	s.scopes[d.Command.Target].ready = false
}

func (s *side) end(l *lease, at time.Time) {
	l.made.Last = at.UTC()
	delete(s.leases, l.key)
	t := l.command.Target
	sc := s.scopes[t]
	sc.leases, sc.ready = slices.DeleteFunc(sc.leases, func(x *lease) bool { return x == l }), false
	if len(sc.leases) == 0 {
		delete(s.scopes, t)
	}
}

// finish closes the books at the end of the history.
func (s *side) finish(now time.Time) {
	for _, l := range s.leases {
		l.made.Last = now.UTC()
		if l.expiresAt.Before(now) {
			l.made.Last = l.expiresAt.UTC()
		}
	}
	s.tell(now)
}

func (s *side) tally(rule string) *Tally {
	t := s.rules[rule]
	if t == nil {
		t = &Tally{}
		s.rules[rule] = t
	}
	return t
}

// attackList returns the attacks that the side would have told of, by key.
func (s *side) attackList() []record.Record {
	out := make([]record.Record, 0, len(s.attacks))
	for _, key := range slices.Sorted(maps.Keys(s.attacks)) {
		out = append(out, s.attacks[key])
	}
	return out
}
