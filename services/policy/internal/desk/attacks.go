package desk

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	record "github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/services/internal/detect/attacks"
	"github.com/weir-net/weir/services/internal/detect/engine"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/replay"
)

// tellEvery is how often the attacks are looked through for news.
const tellEvery = 250 * time.Millisecond

// attackLog is what the desk knows of attacks. But for failed, the desk's lock
// guards it.
type attackLog struct {
	tracker *attacks.Tracker
	// replayed gathers the records of the topic until all that it held has come:
	// of an attack that has ended, the record that says so may be the last.
	replayed map[string]record.Record
	caught   bool
	renewal  kafka.Renewal

	// Promises put here what a broker did not take. They must not wait for the
	// desk, which may be waiting for them.
	failing sync.Mutex
	failed  []attacks.Update
}

// decided tells the tracker of a decision that is on the topic. end is the end of
// the window that it was made of; without one it is now.
func (l *attackLog) decided(x *engine.Decision, end, now time.Time) {
	if end.IsZero() {
		end = now
	}
	l.tracker.Decided(x, end, now)
}

// Attacks reads the attacks topic and writes to it what becomes of attacks on the
// interfaces that this instance decides for, until ctx ends.
func (d *Desk) Attacks(ctx context.Context) error {
	return d.readAndWrite(ctx, d.Topics.Attacks, (*attackReader)(d), tellEvery, d.tellAttacks)
}

// readAndWrite reads a topic, and writes to it now and then, until ctx ends.
func (d *Desk) readAndWrite(ctx context.Context, topic string, reader replay.Reader, every time.Duration, write func(context.Context, time.Time)) error {
	var reading sync.WaitGroup
	defer reading.Wait()
	reading.Go(func() { _ = replay.New(topic, d.Options, d.Log).Run(ctx, reader) })
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			write(ctx, time.Now())
		}
	}
}

// tellAttacks writes what is new of attacks. It waits for no broker: an attack
// that goes on is written again anyway.
func (d *Desk) tellAttacks(ctx context.Context, now time.Time) {
	d.attacks.failing.Lock()
	failed := d.attacks.failed
	d.attacks.failed = nil
	d.attacks.failing.Unlock()
	d.attacks.renewal.Renew(d.Client, d.Topics.Attacks)

	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range failed {
		d.attacks.tracker.Failed(&failed[i])
	}
	if d.replays || !d.attacks.caught {
		return
	}
	for _, u := range d.attacks.tracker.Due(now, d.decidesFor) {
		d.tellAttack(ctx, u)
	}
}

func (d *Desk) tellAttack(ctx context.Context, u attacks.Update) {
	key, value := []byte(u.Key), []byte(nil)
	if !u.Tombstone {
		var err error
		if key, value, err = record.Encode(u.Record); err != nil {
			d.stats.AttacksFailed.Add(1)
			d.Log.Error("encoding an attack", "key", u.Key, "error", err)
			return
		}
	}
	d.Client.TryProduce(ctx, kafka.Record(d.Topics.Attacks, schemas.SchemaAttacks, key, value), func(_ *kgo.Record, err error) {
		if err == nil {
			d.stats.AttacksWritten.Add(1)
			return
		}
		d.stats.AttacksFailed.Add(1)
		d.attacks.renewal.Note(err)
		d.attacks.failing.Lock()
		defer d.attacks.failing.Unlock()
		d.attacks.failed = append(d.attacks.failed, u)
	})
}

// attackReader reads the attacks topic for a desk.
type attackReader Desk

var _ replay.Reader = (*attackReader)(nil)

// Begin implements replay.Reader.
func (d *attackReader) Begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.attacks.replayed, d.attacks.caught = map[string]record.Record{}, false
	d.attacks.tracker.Anew()
}

// Records implements replay.Reader.
func (d *attackReader) Records(records []*kgo.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range records {
		if len(r.Value) == 0 {
			delete(d.attacks.replayed, string(r.Key))
			if d.attacks.caught {
				d.attacks.tracker.Dropped(string(r.Key))
			}
			continue
		}
		a, err := record.Decode(r.Key, r.Value)
		switch {
		case err != nil:
			(*Desk)(d).bad(r, err)
		case d.attacks.caught:
			d.learn(&a)
		default:
			d.attacks.replayed[string(r.Key)] = a
		}
	}
}

func (d *attackReader) learn(a *record.Record) {
	mine := (*Desk)(d).decidesFor(schemas.InterfaceKey(a.Host, a.Interface))
	d.attacks.tracker.Learn(a, mine)
}

// Skipped implements replay.Reader: an attack that goes on is written again.
func (d *attackReader) Skipped(_, _ int64, _ error) {}

// Position implements replay.Reader.
func (d *attackReader) Position(_ int64, caughtUp bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !caughtUp || d.attacks.caught {
		return
	}
	d.attacks.caught = true
	open := slices.SortedFunc(maps.Values(d.attacks.replayed), func(a, b record.Record) int {
		return cmp.Or(a.Start.Compare(b.Start), cmp.Compare(a.Key(), b.Key()))
	})
	d.attacks.replayed = nil
	for i := range open {
		if !open[i].Ended() {
			d.learn(&open[i])
		}
	}
}
