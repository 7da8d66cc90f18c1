package backtest

import (
	"time"

	"github.com/weir-net/weir/schemas/commands"
)

// Done is what was really done about a lease, as far as the commands topic still
// told.
type Done struct {
	Action  commands.Action `json:"action"`
	Issuer  string          `json:"issuer"`
	Rule    string          `json:"rule,omitempty"`
	First   time.Time       `json:"first"`
	Written int             `json:"written"`          // times; renewals as far as compaction left them
	Before  bool            `json:"before,omitempty"` // it stood when the history began
	Ended   *time.Time      `json:"released_at,omitempty"`

	iface     string
	match     commands.Match
	expiresAt time.Time
}

// done is the commands topic.
type done struct{ leases map[string]*Done }

func newDone() *done { return &done{leases: map[string]*Done{}} }

func (d *done) written(l *commands.Lease, before bool) {
	x := d.leases[l.Key]
	if x == nil || x.Before && !before {
		stood := x != nil && x.Ended == nil && l.IssuedAt.Before(x.expiresAt)
		x = &Done{Action: l.Action, Issuer: l.Issuer, First: l.IssuedAt.UTC(), match: l.Match, Before: before || stood}
		if e := l.Evidence; e != nil {
			x.Rule, x.iface = e.Rule, e.Interface
		}
		d.leases[l.Key] = x
	}
	x.Written++
	x.Ended, x.expiresAt = nil, l.ExpiresAt
}

func (d *done) released(key string, at time.Time) {
	if x := d.leases[key]; x != nil && x.Ended == nil {
		t := at.UTC()
		x.Ended = &t
	}
}
