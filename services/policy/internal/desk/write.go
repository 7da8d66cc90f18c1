package desk

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/engine"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// write produces decisions and waits for the broker: a decision that nobody has
// seen is taken back and made again. from are the rates that they were made of,
// if they were made of rates.
func (d *Desk) write(ctx context.Context, decisions []engine.Decision, from []*rates.Record) {
	start := time.Now()
	ctx, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	type outcome struct {
		at  int
		err error
	}
	outcomes := make(chan outcome, len(decisions))
	failed, waiting := make([]error, len(decisions)), map[int]bool{}
	for i := range decisions {
		x := &decisions[i]
		if !x.Step.Writes() {
			continue
		}
		key, value := []byte(x.Key), []byte(nil)
		if x.Step != engine.Release {
			var err error
			if key, value, err = commands.Encode(x.Command); err != nil {
				failed[i] = fmt.Errorf("encoding the command: %w", err)
				continue
			}
		}
		r := kafka.Record(d.Topics.Commands, schemas.SchemaCommands, key, value)
		waiting[i] = true
		d.Client.Produce(ctx, r, func(_ *kgo.Record, err error) { outcomes <- outcome{i, err} })
	}
	for len(waiting) > 0 {
		select {
		case o := <-outcomes:
			failed[o.at] = o.err
			delete(waiting, o.at)
			continue
		case <-ctx.Done():
		}
		// A broker that hangs answers nothing, and a record that is on its way cannot
		// be taken back. Made again it is the same lease under the same key.
		for i := range waiting {
			failed[i] = ctx.Err()
		}
		break
	}
	d.stats.WriteNanos.Store(int64(time.Since(start)))
	for i := range decisions {
		if failed[i] != nil {
			d.stats.Failed.Add(1)
			d.engine.Failed(&decisions[i])
			d.Log.Error("writing a decision", "key", decisions[i].Key, "error", failed[i])
			if kafka.IsRecreated(failed[i]) {
				d.Client.PurgeTopicsFromClient(d.Topics.Commands)
			}
			continue
		}
		d.tell(&decisions[i])
		if from == nil {
			d.attacks.decided(&decisions[i], time.Time{}, time.Now())
			continue
		}
		d.attacks.decided(&decisions[i], from[i].End, time.Now())
		if i+1 == len(decisions) || from[i+1] != from[i] {
			d.attacks.tracker.Rates(from[i]) // with the leases it is known what of it is the attack
		}
	}
}

func (d *Desk) tell(x *engine.Decision) {
	e := events.Record{Kind: events.KindDecision, Key: x.Key, Topic: d.Topics.Commands, Rule: x.Rule,
		Measured: x.Measured, Threshold: x.Threshold, Reason: x.Reason}
	e.Host, e.Interface, _ = schemas.ParseInterfaceKey(x.Interface)
	switch x.Step {
	case engine.Issue:
		d.stats.Issued.Add(1)
		e.Step, e.Action = events.StepIssue, string(x.Command.Action)
	case engine.Renew:
		d.stats.Renewed.Add(1)
		e.Step, e.Action = events.StepRenew, string(x.Command.Action)
	case engine.Release:
		d.stats.Released.Add(1)
		e.Step = events.StepRelease
	case engine.Refuse:
		d.stats.Refused.Add(1)
		e.Kind, e.Severity = events.KindBudget, events.Warning
	case engine.Alert:
		d.stats.Alerts.Add(1)
		e.Kind, e.Severity = events.KindAlert, events.Warning
	}
	d.Publish(e)
}
