package why

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas/commands"
)

// Question is what somebody asks about: a prefix, or one lease by its key.
type Question struct {
	Prefix netip.Prefix // of a source or of a victim; invalid if Key is set
	Key    string
}

// Ask reads a question: an address, a prefix, or a lease's key.
func Ask(s string) (Question, error) {
	if strings.Contains(s, "|") {
		k, err := commands.ParseKey([]byte(s))
		if err != nil {
			return Question{}, err
		}
		return Question{Key: k.String()}, nil
	}
	p, err := commands.ParsePrefix(s)
	return Question{Prefix: p}, err
}

// String returns the question as it is asked.
func (q Question) String() string {
	if q.Key != "" {
		return q.Key
	}
	return q.Prefix.String()
}

// Role says how a lease concerns what was asked.
type Role string

// The roles.
const (
	RoleNone   Role = ""
	RoleKey    Role = "key"    // it is the lease that was asked for
	RoleSource Role = "source" // it names the source
	RoleVictim Role = "victim" // it protects the address
	RoleAny    Role = "any"    // a signature, which takes any source
)

// Concerns says how a lease under key with match m concerns the question.
func (q Question) Concerns(key string, m *commands.Match) Role {
	switch {
	case q.Key != "":
		if key == q.Key {
			return RoleKey
		}
	case m.Source.IsValid() && m.Source.Overlaps(q.Prefix):
		return RoleSource
	case m.Destination.IsValid() && m.Destination.Overlaps(q.Prefix):
		return RoleVictim
	case !m.Source.IsValid() && m.Destination.IsValid() && m.Destination.Addr().Is4() == q.Prefix.Addr().Is4():
		return RoleAny
	}
	return RoleNone
}

// Story is what the commands topic tells of one lease.
type Story struct {
	Lease    commands.Lease // as last written
	Role     Role
	Since    time.Time // when it was issued, renewals not counted
	Renewals int       // records since then, as far as compaction has left them
	Released time.Time // when a tombstone ended it; zero if none did
}

// State says in a word whether the lease holds at now.
func (s *Story) State(now time.Time) string {
	switch {
	case !s.Released.IsZero():
		return "released"
	case !s.Lease.Live(now):
		return "lapsed"
	}
	return "in force"
}

// Log collects the stories of the leases that concern a question, and every
// allow, from the commands topic read from its start.
type Log struct {
	Question Question
	stories  map[string]*Story
	allows   map[string]commands.Lease
}

// NewLog returns a log that has read nothing.
func NewLog(q Question) *Log {
	return &Log{Question: q, stories: map[string]*Story{}, allows: map[string]commands.Lease{}}
}

// Observe takes one record of the topic.
func (l *Log) Observe(r *kgo.Record) {
	key := string(r.Key)
	if commands.IsTombstone(r.Value) {
		delete(l.allows, key)
		if s := l.stories[key]; s != nil && s.Released.IsZero() {
			s.Released = r.Timestamp
		}
		return
	}
	c, err := commands.Decode(r.Key, r.Value)
	if err != nil || c.Action == commands.SetMode {
		return
	}
	lease := commands.NewLease(c, r.Offset, r.Timestamp, r.Timestamp)
	delete(l.allows, key)
	if c.Action == commands.Allow {
		l.allows[key] = lease
	}
	role := l.Question.Concerns(key, &c.Match)
	if role == RoleNone {
		return
	}
	s := l.stories[key]
	if s == nil || !s.Released.IsZero() || !s.Lease.Live(r.Timestamp) {
		l.stories[key] = &Story{Lease: lease, Role: role, Since: lease.IssuedAt}
		return
	}
	s.Lease = lease
	s.Renewals++
}

// Stories returns the leases that concern the question, those in force first,
// then the ones that ended last.
func (l *Log) Stories(now time.Time) []*Story {
	var out []*Story
	for _, s := range l.stories {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *Story) int {
		if x, y := a.State(now) == "in force", b.State(now) == "in force"; x != y {
			if x {
				return -1
			}
			return 1
		}
		if c := b.Lease.IssuedAt.Compare(a.Lease.IssuedAt); c != 0 {
			return c
		}
		return strings.Compare(a.Lease.Key, b.Lease.Key)
	})
	return out
}

// Beaten is an allow that takes packets out of a lease.
type Beaten struct {
	Key    string `json:"key"`
	Issuer string `json:"issuer"`
	Whole  bool   `json:"whole"` // nothing is left of the lease where the allow applies
}

// Beaters returns the allows in force that beat a lease, by key.
func (l *Log) Beaters(lease *commands.Lease, now time.Time) []Beaten {
	var out []Beaten
	if lease.Action == commands.Allow {
		return out
	}
	for _, a := range l.allows {
		if !a.Live(now) || !TargetsMeet(a.Target, lease.Target) || !Meet(&a.Match, &lease.Match) {
			continue
		}
		whole := a.Target.Kind <= lease.Target.Kind && Covers(&a.Match, &lease.Match)
		out = append(out, Beaten{Key: a.Key, Issuer: a.Issuer, Whole: whole})
	}
	slices.SortFunc(out, func(a, b Beaten) int { return strings.Compare(a.Key, b.Key) })
	return out
}
