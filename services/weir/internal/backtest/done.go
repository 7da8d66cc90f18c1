package backtest

import (
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
)

// Done is what was really done about a lease, as far as the topics still told:
// the commands topic forgets what was released, events are kept for a week.
type Done struct {
	Action   commands.Action `json:"action,omitempty"`
	Issuer   string          `json:"issuer"`
	Rule     string          `json:"rule,omitempty"`
	First    time.Time       `json:"first"`
	Renewed  int             `json:"renewed"`
	Before   bool            `json:"before,omitempty"` // it stood when the history began
	Ended    *time.Time      `json:"released_at,omitempty"`
	renewals map[source]int  // as each topic tells of them

	iface     string
	match     commands.Match
	expiresAt time.Time
}

// source is a topic that tells of commands.
type source bool

const (
	byCommands source = false
	byEvents   source = true
)

// done is what the topics tell.
type done struct{ leases map[string]*Done }

func newDone() *done { return &done{leases: map[string]*Done{}} }

// written takes a command.
func (d *done) written(l *commands.Lease, before bool) {
	x := d.lease(l.Key, l.Issuer, &l.Match, l.IssuedAt, before, byCommands)
	x.Action = l.Action
	if e := l.Evidence; e != nil {
		x.Rule, x.iface = e.Rule, e.Interface
	}
	x.Ended, x.expiresAt = nil, l.ExpiresAt
}

// told takes an event of the policy's. at is the broker's stamp, as of commands.
func (d *done) told(e *events.Record, at time.Time) {
	k, err := commands.ParseKey([]byte(e.Key))
	if err != nil || e.Kind != events.KindDecision {
		return
	}
	switch e.Step {
	case events.StepIssue, events.StepRenew:
		x := d.lease(e.Key, k.Issuer, &k.Match, at, e.Step == events.StepRenew && d.leases[e.Key] == nil, byEvents)
		if x.Action == "" {
			x.Action = commands.Action(e.Action)
		}
		x.Rule, x.iface = e.Rule, schemas.InterfaceKey(e.Host, e.Interface)
	case events.StepRelease:
		d.released(e.Key, at)
	}
}

// lease returns what is known under a key, one more command counted.
func (d *done) lease(key, issuer string, m *commands.Match, at time.Time, before bool, by source) *Done {
	x := d.leases[key]
	if x == nil || x.Before && !before {
		stood := x != nil && x.Ended == nil && at.Before(x.expiresAt)
		x = &Done{Issuer: issuer, First: at.UTC(), match: *m, Before: before || stood, renewals: map[source]int{byCommands: -1, byEvents: -1}}
		d.leases[key] = x
	}
	x.renewals[by]++
	x.Renewed = max(x.renewals[byCommands], x.renewals[byEvents])
	return x
}

func (d *done) released(key string, at time.Time) {
	if x := d.leases[key]; x != nil && (x.Ended == nil || at.Before(*x.Ended)) {
		t := at.UTC()
		x.Ended = &t
	}
}
