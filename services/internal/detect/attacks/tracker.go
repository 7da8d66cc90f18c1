// Package attacks turns the policy's decisions into attacks: one record from the
// first decision against something to its end. It is a pure function of what it
// is told and of the times that it is given.
//
// Attacks survive the instance that tracks them. What is known of them is on the
// attacks topic and of their leases on the commands topic, both of which every
// instance reads; only the one that decides for an interface writes.
package attacks

import (
	"net/netip"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/detect/engine"
)

const (
	// Linger is how long after its last lease and its last dropped packet an
	// attack is over: a lease that lapsed may come back with the next window.
	Linger = 30 * time.Second
	// alertLinger is the same of an attack that the engine only tells of, since its
	// last word: by default it repeats itself every ten minutes.
	alertLinger = 11 * time.Minute
	// updateEvery is how often at most an attack that goes on is written while it
	// is new. Later its figures are written less often, up to slowest: a thousand
	// attacks of an hour are no news every second.
	updateEvery = time.Second
	slowest     = 10 * time.Second
	// maxUnwritten bounds the last words that wait for a broker.
	maxUnwritten = 4096
)

// Tracker knows the attacks that go on. It is not safe for concurrent use.
type Tracker struct {
	open      map[attacks.Identity]*attack
	at        map[string]map[attacks.Identity]*attack // the same, by <host>/<ifname>
	leases    map[string]*lease                       // the policy's live ones, by key
	sweptAt   time.Time
	unwritten []Update // ends and tombstones to be written
}

// Update is one record for the topic: the attack as it is, or a tombstone.
type Update struct {
	Key       string
	Record    attacks.Record
	Tombstone bool
}

// attack is one that goes on.
type attack struct {
	attacks.Record
	leases map[string]*lease
	past   []ended
	// doubles are other records of this attack, begun by an instance that did not
	// know of it yet, and when they were last taken back.
	doubles   map[string]time.Time
	prefixes  map[netip.Prefix]*lease
	lengths   []int  // of prefixes
	key       string // under which the topic has it; empty: it has not
	seenAt    time.Time
	alertedAt time.Time // when the engine last told of it without a lease
	dirty     bool      // there are new figures
	urgent    bool      // and what was ordered is new
	writtenAt time.Time // by this instance; zero: never
}

// lease is one of the policy's, live. What it has dropped only grows, so that the
// larger of two figures is the newer one, whoever has it: the topic, the probe,
// or this tracker.
type lease struct {
	id        attacks.Identity
	command   commands.Command
	expiresAt time.Time
	sum       attacks.Lease             // what of it is in the attack's sums
	base      attacks.Lease             // of earlier entries under its key: the probe's counters began anew
	seen      map[string]*attacks.Lease // the probe's counters, by interface
	inherited bool                      // it was learnt from the commands topic
}

// New returns a tracker that knows nothing.
func New() *Tracker {
	return &Tracker{open: map[attacks.Identity]*attack{}, at: map[string]map[attacks.Identity]*attack{}, leases: map[string]*lease{}}
}

// Open returns how many attacks go on.
func (t *Tracker) Open() int { return len(t.open) }

// Decided takes what the engine has decided and the desk has written. end is the
// end of the window that it was decided on.
func (t *Tracker) Decided(d *engine.Decision, end, now time.Time) {
	switch d.Step {
	case engine.Issue, engine.Renew:
		t.ordered(&d.Command, d.Key, end, now, false)
	case engine.Release:
		t.Released(d.Key)
	case engine.Alert:
		t.alerted(d, end, now)
	}
}

// alerted takes what the engine only tells of: an attack against which there is
// no lease, unless there is one by the same rule. It is over when the engine has
// told of it no more for a while.
func (t *Tracker) alerted(d *engine.Decision, end, now time.Time) {
	host, ifname, err := schemas.ParseInterfaceKey(d.Interface)
	if err != nil || attacks.CheckRule(d.Rule) != nil {
		return
	}
	id := attacks.Identity{Host: host, Interface: ifname, Rule: d.Rule}
	a := t.open[id]
	if a == nil {
		a = t.begin(attacks.Record{Host: host, Interface: ifname, Rule: d.Rule, Vector: vector(d.Rule, d.Reason), Action: commands.Observe,
			Start: end.UTC().Truncate(time.Millisecond), Evidence: d.Evidence}, now)
	}
	a.seenAt, a.dirty = now, true
	if a.Leases == 0 {
		a.alertedAt = now // nothing else will say that it goes on
	}
	if d.Window == time.Second && d.Measured > a.PeakPPS {
		a.PeakPPS = d.Measured
	}
}

// Command takes a live lease of the commands topic, so that those of another
// instance, or of an earlier life, are known.
func (t *Tracker) Command(l *commands.Lease, now time.Time) {
	if l.Issuer != engine.Issuer || l.Action == commands.SetMode {
		return
	}
	t.ordered(&l.Command, l.Key, l.IssuedAt, now, true)
	if known := t.leases[l.Key]; known != nil {
		known.expiresAt = l.ExpiresAt
	}
}

// ordered takes a lease that is issued or renewed; start is when an attack of
// which nothing is known yet has begun.
func (t *Tracker) ordered(c *commands.Command, key string, start, now time.Time, inherited bool) {
	if l := t.leases[key]; l != nil {
		l.command, l.expiresAt = *c, now.Add(c.TTL)
		if a := t.open[l.id]; a != nil {
			a.act(c.Action)
		}
		return
	}
	id, ok := identify(c)
	if !ok {
		return
	}
	a := t.open[id]
	if a == nil {
		a = t.begin(attacks.Record{Host: id.Host, Interface: id.Interface, Rule: id.Rule, Destination: id.Destination,
			Vector: vector(id.Rule, c.Reason), Start: start.UTC().Truncate(time.Millisecond), Evidence: c.Evidence}, now)
	}
	l := &lease{id: id, command: *c, expiresAt: now.Add(c.TTL), inherited: inherited, sum: attacks.Lease{Key: key}, seen: map[string]*attacks.Lease{}}
	t.leases[key] = l
	a.add(l, now)
}

// identify says against which attack a lease is: its evidence names the rule and
// the interface.
func identify(c *commands.Command) (attacks.Identity, bool) {
	e := c.Evidence
	if e == nil || c.Action == commands.Allow { // one that goes with a signature is against nobody
		return attacks.Identity{}, false
	}
	host, ifname, err := schemas.ParseInterfaceKey(e.Interface)
	if err != nil || attacks.CheckRule(e.Rule) != nil {
		return attacks.Identity{}, false
	}
	id := attacks.Identity{Host: host, Interface: ifname, Rule: e.Rule}
	if !c.Match.Source.IsValid() {
		id.Destination = c.Match.Destination.Addr()
	}
	return id, true
}

// vector is the rule's name, which the engine's reasons begin with: "R1 SYN flood
// from one source: 120 syn in 1s".
func vector(rule, reason string) string {
	name, ok := strings.CutPrefix(reason, rule+" ")
	name, _, found := strings.Cut(name, ":")
	if !ok || !found {
		return rule
	}
	return name
}

func (t *Tracker) begin(r attacks.Record, now time.Time) *attack {
	a := &attack{Record: r, leases: map[string]*lease{}, doubles: map[string]time.Time{}, prefixes: map[netip.Prefix]*lease{}, seenAt: now, dirty: true}
	id := r.Identity()
	t.open[id] = a
	name := schemas.InterfaceKey(r.Host, r.Interface)
	if t.at[name] == nil {
		t.at[name] = map[attacks.Identity]*attack{}
	}
	t.at[name][id] = a
	return a
}

// forget drops an attack.
func (t *Tracker) forget(a *attack) {
	id := a.Identity()
	delete(t.open, id)
	name := schemas.InterfaceKey(id.Host, id.Interface)
	if delete(t.at[name], id); len(t.at[name]) == 0 {
		delete(t.at, name)
	}
}

// Released takes a tombstone of the commands topic, or a release of our own.
func (t *Tracker) Released(key string) {
	if l := t.leases[key]; l != nil {
		t.end(key, l)
	}
}

func (t *Tracker) end(key string, l *lease) {
	delete(t.leases, key)
	if a := t.open[l.id]; a != nil {
		a.remove(key, l)
	}
}

// Forget drops the leases: the commands topic is read anew.
func (t *Tracker) Forget() {
	for key, l := range t.leases {
		t.end(key, l)
	}
}
