package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/weir/internal/broker"
	"github.com/weir-net/weir/services/weir/internal/wait"
)

// record is one record to write.
type record struct{ key, value []byte }

// refusal is a probe that does not apply a command, and why.
type refusal struct {
	Interface string `json:"interface"`
	Reason    string `json:"reason"`
}

// outcome is what became of a command.
type outcome struct {
	Key        string          `json:"key"`
	Keys       []string        `json:"keys,omitempty"` // if there are several
	Action     commands.Action `json:"action,omitempty"`
	Offset     int64           `json:"offset"`
	ExpiresAt  *time.Time      `json:"expires_at,omitempty"`
	Waited     bool            `json:"waited"`
	Interfaces int             `json:"interfaces"`
	Applied    []string        `json:"applied"`
	Pending    []string        `json:"pending"`
	Refused    []refusal       `json:"refused"`
	Observing  []string        `json:"observing"`
	Off        []string        `json:"off"`
	ElapsedMS  int64           `json:"elapsed_ms"`
	Note       string          `json:"note,omitempty"`

	verb string
}

// write writes records, waits until the probes of target have applied the last
// one, prints the outcome and returns the exit code. written is called with the
// broker's timestamp.
func (a *app) write(ctx context.Context, target schemas.Target, records []record, out *outcome, f waitFlags, written func(at time.Time)) error {
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return a.writeTo(ctx, c, target, records, out, f, written)
}

func (a *app) writeTo(ctx context.Context, c *broker.Client, target schemas.Target, records []record, out *outcome, f waitFlags, written func(at time.Time)) error {
	writing, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	// Probes report refusals from here on.
	events, err := c.EndOffset(writing, c.Topics.Events)
	if err != nil {
		return err
	}
	var at time.Time
	for _, r := range records {
		if out.Offset, at, err = c.Write(writing, r.key, r.value); err != nil {
			return err
		}
	}
	if written != nil {
		written(at)
	}
	if !f.noWait {
		out.Waited = true
		result, err := a.await(ctx, c, target, out.Offset, at, f.wait)
		if err != nil {
			return err
		}
		refused, err := refusals(ctx, c, events, out.Offset, result.Suspects)
		if err != nil {
			return err
		}
		out.take(result, refused)
	}
	return a.finish(out, f)
}

// await follows the status topic until everyone has applied offset, or for at
// most limit.
func (a *app) await(ctx context.Context, c *broker.Client, target schemas.Target, offset int64, at time.Time, limit time.Duration) (wait.Result, error) {
	w := wait.Wait{Component: status.ComponentFilter, Offset: offset, At: at, Target: target}
	// The broker stamped our record at this moment: from here on our clock
	// tells the broker's time, whatever it is set to.
	local := time.Now()
	now := func() time.Time { return at.Add(time.Since(local)) }
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	caughtUp := false
	err := c.Follow(waiting, c.Topics.Status, broker.Since(at.Add(-schemas.StaleAfter)), func(r *kgo.Record) bool {
		if r.Value == nil {
			w.Forget(string(r.Key))
		} else if s, err := status.Decode(r.Value); err == nil && s.Key() == string(r.Key) {
			w.Observe(s, r.Timestamp)
		}
		return !caughtUp || !w.Result(now()).Done()
	}, func() bool {
		caughtUp = true
		result := w.Result(now())
		return !result.Done() && result.Live() > 0
	})
	if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return wait.Result{}, err
	}
	return w.Result(now()), nil
}

// refusals looks for the suspects' events about offset. They are written beside
// the status, so they may come a moment later.
func refusals(ctx context.Context, c *broker.Client, from, offset int64, suspects []string) ([]refusal, error) {
	if len(suspects) == 0 {
		return nil, nil
	}
	var out []refusal
	reading, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	err := c.Follow(reading, c.Topics.Events, broker.At(from), func(r *kgo.Record) bool {
		e, err := events.Decode(r.Value)
		if err != nil || e.Topic != c.Topics.Commands || e.Offset != offset || e.Kind != events.KindRejectedCommand && e.Kind != events.KindSuspended {
			return true
		}
		for _, s := range suspects {
			host, _, _ := strings.Cut(s, "/")
			if e.Host == host && (e.Interface == "" || schemas.InterfaceKey(host, e.Interface) == s) && !refusedBy(out, s) {
				out = append(out, refusal{Interface: s, Reason: e.Kind + ": " + schemas.Printable(e.Reason, 300)})
			}
		}
		return len(out) < len(suspects)
	}, nil)
	if err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return nil, err
	}
	return out, nil
}

func refusedBy(list []refusal, key string) bool {
	return slices.ContainsFunc(list, func(r refusal) bool { return r.Interface == key })
}

// take turns a result into lists that are never null.
func (o *outcome) take(r wait.Result, refused []refusal) {
	o.Interfaces, o.ElapsedMS = r.Live(), r.Took.Milliseconds()
	o.Applied = slices.DeleteFunc(r.Applied, func(k string) bool { return refusedBy(refused, k) })
	o.Pending, o.Observing, o.Off, o.Refused = r.Pending, r.Observing, r.Off, refused
}

// finish prints o and returns its exit code.
func (a *app) finish(o *outcome, f waitFlags) error {
	for _, list := range []*[]string{&o.Applied, &o.Pending, &o.Observing, &o.Off} {
		if *list == nil {
			*list = []string{}
		}
	}
	if o.Refused == nil {
		o.Refused = []refusal{}
	}
	if a.json() {
		if err := a.printJSON(o); err != nil {
			return err
		}
	} else {
		fmt.Fprint(a.Out, o.text(f.wait))
	}
	switch {
	case !o.Waited:
		return nil
	case o.Interfaces == 0:
		return exit(ExitNoProbe, "")
	case len(o.Pending) > 0 || len(o.Refused) > 0:
		return exit(ExitNotApplied, "")
	}
	return nil
}

// text says it to people.
func (o *outcome) text(limit time.Duration) string {
	var b strings.Builder
	n := func(count int) string {
		if count == 1 {
			return "1 interface"
		}
		return fmt.Sprintf("%d interfaces", count)
	}
	switch {
	case !o.Waited:
		fmt.Fprintf(&b, "written at offset %d: %s\n", o.Offset, o.Key)
	case o.Interfaces == 0:
		fmt.Fprintf(&b, "no live probe is concerned; written all the same at offset %d: %s\n", o.Offset, o.Key)
	case len(o.Pending) == 0:
		fmt.Fprintf(&b, "%s on %d of %s in %d ms\n", o.verb, len(o.Applied), n(o.Interfaces), o.ElapsedMS)
	default:
		fmt.Fprintf(&b, "%s on %d of %s after %s\n", o.verb, len(o.Applied), n(o.Interfaces), schemas.FormatDuration(limit))
	}
	for _, p := range o.Pending {
		fmt.Fprintf(&b, "  not applied: %s\n", p)
	}
	for _, r := range o.Refused {
		fmt.Fprintf(&b, "  refused: %s: %s\n", r.Interface, r.Reason)
	}
	if o.Action != commands.SetMode {
		if len(o.Observing) > 0 {
			fmt.Fprintf(&b, "  observe mode, nothing is dropped there: %s\n", strings.Join(o.Observing, " "))
		}
		if len(o.Off) > 0 {
			fmt.Fprintf(&b, "  switched off, everything passes there: %s\n", strings.Join(o.Off, " "))
		}
	}
	if o.Note != "" {
		fmt.Fprintf(&b, "  %s\n", o.Note)
	}
	return b.String()
}
