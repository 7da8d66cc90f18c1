// Package act turns what a person asks for on the page into a command, writes it
// and waits until the probes have applied it.
package act

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/status"
)

// Writer puts one record on the commands topic and returns its offset once the
// broker has it. A nil value is a tombstone.
type Writer interface {
	Write(ctx context.Context, key, value []byte) (offset int64, err error)
}

// Picture is what is known about probes and leases.
type Picture interface {
	Applied(target schemas.Target, component string, offset int64) (applied, pending, observing []string)
	Refusals(topic string, offset int64) []string
	Lease(key string) (commands.Lease, bool)
}

// Order is what a person asks for.
type Order struct {
	Action string `json:"action"` // drop, rate-limit, allow or release
	Target string `json:"target"` // of a new lease
	Source string `json:"source"` // of a new lease: an address or prefix
	TTL    string `json:"ttl"`    // of a new lease, a duration such as "10m"
	PPS    uint64 `json:"pps"`    // of a rate-limit
	Reason string `json:"reason"`
	Key    string `json:"key"` // of the lease to release
}

// Outcome is what became of it.
type Outcome struct {
	Key       string   `json:"key"`
	Action    string   `json:"action"`
	Offset    int64    `json:"offset"`
	Applied   []string `json:"applied"`
	Pending   []string `json:"pending"`
	Observing []string `json:"observing"` // of Applied: those that do not drop
	Refused   []string `json:"refused"`
	ElapsedMS int64    `json:"elapsed_ms"`
	Text      string   `json:"text"`
}

// Actor writes commands.
type Actor struct {
	Writer  Writer
	Picture Picture
	Topic   string        // the commands topic's name
	Wait    time.Duration // for how long the probes are waited for
	Poll    time.Duration // how often they are looked at
}

// Do carries out o in the name of issuer. An error of type *schemas.RecordError
// is the person's, any other the system's.
func (a *Actor) Do(ctx context.Context, issuer string, o Order) (Outcome, error) {
	key, value, target, err := a.record(issuer, o)
	if err != nil {
		return Outcome{}, err
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, a.Wait)
	defer cancel()
	offset, err := a.Writer.Write(ctx, key, value)
	if err != nil {
		return Outcome{}, fmt.Errorf("writing the command: %w", err)
	}
	out := Outcome{Key: string(key), Action: o.Action, Offset: offset}
	a.await(ctx, target, &out, began)
	out.Refused = a.refused(ctx, offset)
	for _, list := range []*[]string{&out.Applied, &out.Pending, &out.Observing, &out.Refused} {
		if *list == nil {
			*list = []string{}
		}
		slices.Sort(*list)
	}
	out.Text = out.text(a.Wait)
	return out, nil
}

// record makes the record that o asks for.
func (a *Actor) record(issuer string, o Order) (key, value []byte, target schemas.Target, err error) {
	if o.Action == "release" {
		l, ok := a.Picture.Lease(o.Key)
		if !ok {
			return nil, nil, target, schemas.Refuse(schemas.FaultKey, "there is no live lease %q", o.Key)
		}
		return []byte(l.Key), nil, l.Target, nil
	}
	c := commands.Command{Action: commands.Action(o.Action), Issuer: issuer, Reason: schemas.Printable(o.Reason, commands.MaxReason)}
	switch c.Action {
	case commands.Drop, commands.Allow:
	case commands.RateLimit:
		c.Rate = &commands.Rate{PPS: o.PPS}
	default:
		return nil, nil, target, schemas.Refuse(schemas.FaultField, "action %q: want drop, rate-limit, allow or release", o.Action)
	}
	if c.Target, err = schemas.ParseTarget(o.Target); err != nil {
		return nil, nil, target, schemas.Refuse(schemas.FaultField, "%v", err)
	}
	if c.Match.Source, err = commands.ParsePrefix(o.Source); err != nil {
		return nil, nil, target, err
	}
	if c.TTL, err = time.ParseDuration(o.TTL); err != nil {
		return nil, nil, target, schemas.Refuse(schemas.FaultField, "ttl %q: want a duration such as 10m", o.TTL)
	}
	key, value, err = commands.Encode(c)
	return key, value, c.Target, err
}

// await looks until every live interface has applied the offset, or ctx ends.
func (a *Actor) await(ctx context.Context, target schemas.Target, out *Outcome, began time.Time) {
	t := time.NewTicker(a.Poll)
	defer t.Stop()
	for {
		out.Applied, out.Pending, out.Observing = a.Picture.Applied(target, status.ComponentFilter, out.Offset)
		out.ElapsedMS = time.Since(began).Milliseconds()
		if len(out.Pending) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// refused looks for events about the offset: a probe that refuses a command has
// "applied" it as well, and says why in an event that comes a moment later.
func (a *Actor) refused(ctx context.Context, offset int64) []string {
	const grace = 150 * time.Millisecond
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	return a.Picture.Refusals(a.Topic, offset)
}

func (o *Outcome) text(wait time.Duration) string {
	all := len(o.Applied) + len(o.Pending)
	switch {
	case all == 0:
		return fmt.Sprintf("written at offset %d, but no live probe is concerned", o.Offset)
	case len(o.Pending) > 0:
		return fmt.Sprintf("applied on %d of %d after %s", len(o.Applied), all, schemas.FormatDuration(wait))
	}
	return fmt.Sprintf("applied on %d of %d in %d ms", len(o.Applied), all, o.ElapsedMS)
}
