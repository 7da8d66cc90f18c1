// Package desk is where the engine meets the topics: what is read goes in, what
// it decides is written, in the order of arrival and under one lock.
package desk

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/detect/attacks"
	"github.com/weir-net/weir/services/internal/detect/engine"
	"github.com/weir-net/weir/services/internal/detect/rules"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Desk runs one engine.
type Desk struct {
	Topics   schemas.Topics
	Options  []kgo.Opt
	Client   *kgo.Client // for writing
	Group    string
	Instance string
	Publish  func(events.Record)
	Log      *slog.Logger
	// RememberEvery is how often what is usual on an interface is written down.
	RememberEvery time.Duration

	mu      sync.Mutex
	engine  *engine.Engine
	mine    map[int32]bool // partitions of rates that this instance reads
	count   int32          // partitions that rates has; 0 before any is assigned
	replays bool           // the commands are not known yet, or are read anew
	attacks attackLog
	memory  memory

	joined atomic.Bool
	caught atomic.Bool
	stats  Stats
}

// Stats are the desk's counters.
type Stats struct {
	Rates, Stale, Bad, Issued, Renewed, Released, Refused, Alerts, Failed atomic.Uint64
	AttacksWritten, AttacksFailed                                         atomic.Uint64 // records of attacks
	MemoryWritten, MemoryFailed                                           atomic.Uint64 // records of what is usual
	DecideNanos, WriteNanos                                               atomic.Int64  // of the last decisions
}

// New returns a desk for engine.
func New(e *engine.Engine) *Desk {
	return &Desk{engine: e, mine: map[int32]bool{}, replays: true, attacks: attackLog{tracker: attacks.New()}}
}

// Stats returns the counters.
func (d *Desk) Stats() *Stats { return &d.stats }

// SetRules puts new rules into force.
func (d *Desk) SetRules(r *rules.Rules) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.engine.SetRules(r)
}

// Leases returns how many of the policy's leases are live.
func (d *Desk) Leases() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.engine.Leases()
}

// Ready says what is missing, or nil.
func (d *Desk) Ready() error {
	if !d.caught.Load() {
		return errors.New("the commands topic has not been replayed yet")
	}
	if !d.joined.Load() {
		return errors.New("no partition of the rates is assigned yet")
	}
	return nil
}

// retry runs f until ctx ends, waiting a little after each failure.
func (d *Desk) retry(ctx context.Context, what string, f func(context.Context) error) error {
	for ctx.Err() == nil {
		if err := f(ctx); err != nil && ctx.Err() == nil {
			d.Log.Warn(what, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
	}
	return nil
}

// Decide reads the rates of the partitions that the group assigns and writes
// what follows. Nothing is decided before the commands are known.
func (d *Desk) Decide(ctx context.Context) error {
	return d.retry(ctx, "reading the rates", d.decide)
}

func (d *Desk) decide(ctx context.Context) error {
	client, err := kgo.NewClient(append(append([]kgo.Opt{}, d.Options...),
		kgo.ConsumerGroup(d.Group), kgo.InstanceID(d.Instance), kgo.ConsumeTopics(d.Topics.Rates),
		// The defaults leave 45 s without decisions after a crash.
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(1500*time.Millisecond), kgo.RebalanceTimeout(8*time.Second),
		kgo.AutoCommitInterval(time.Second),
		// Rates are the present: what nobody has read yet is past.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		kgo.OnPartitionsAssigned(d.assigned),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { d.assign(m, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { d.assign(m, false) }),
	)...)
	if err != nil {
		return fmt.Errorf("configuring the Kafka client: %w", err)
	}
	defer client.Close()
	defer d.joined.Store(false)
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		for _, f := range fetches.Errors() {
			if kafka.IsRecreated(f.Err) {
				return fmt.Errorf("the rates topic was made anew: %w", f.Err)
			}
			var bomb *kgo.ErrDecompressTooLarge
			if errors.As(f.Err, &bomb) {
				client.SetOffsets(map[string]map[int32]kgo.EpochOffset{f.Topic: {bomb.Partition: {Epoch: bomb.Epoch, Offset: bomb.NextOffset}}})
				d.bad(&kgo.Record{Topic: f.Topic, Partition: bomb.Partition, Offset: bomb.NextOffset - 1}, f.Err)
				continue
			}
			d.Log.Warn("fetching rates", "error", f.Err)
			time.Sleep(250 * time.Millisecond)
		}
		d.rates(ctx, fetches)
	}
}

// assigned asks how many partitions there are: added ones are assigned too.
func (d *Desk) assigned(ctx context.Context, client *kgo.Client, m map[string][]int32) {
	ctx, stop := context.WithTimeout(ctx, 3*time.Second)
	defer stop()
	listed, err := kadm.NewClient(client).ListTopics(ctx, d.Topics.Rates)
	if err == nil {
		err = listed[d.Topics.Rates].Err
	}
	if err != nil {
		d.Log.Warn("asking for the partitions of the rates", "error", err)
	}
	if n := len(listed[d.Topics.Rates].Partitions); n > 0 {
		d.mu.Lock()
		d.count = int32(n)
		d.mu.Unlock()
	}
	d.assign(m, true)
}

func (d *Desk) assign(m map[string][]int32, mine bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range m[d.Topics.Rates] {
		if mine {
			d.mine[p] = true
		} else {
			delete(d.mine, p)
		}
	}
	d.joined.Store(mine || len(d.mine) > 0)
}

func (d *Desk) rates(ctx context.Context, fetches kgo.Fetches) {
	d.mu.Lock()
	defer d.mu.Unlock()
	start := time.Now()
	var out []engine.Decision
	var from []*rates.Record // that the decisions are made of
	fetches.EachRecord(func(r *kgo.Record) {
		if len(r.Value) == 0 {
			return // an interface that is gone
		}
		record, err := rates.Decode(r.Value)
		if err != nil {
			d.bad(r, err)
			return
		}
		d.stats.Rates.Add(1)
		if d.replays || d.memory.waits(start) {
			return
		}
		if start.Sub(r.Timestamp) > engine.StaleAfter {
			d.stats.Stale.Add(1)
			return
		}
		d.attacks.tracker.Rates(&record)
		for _, x := range d.engine.Rates(&record, start) {
			out, from = append(out, x), append(from, &record)
		}
	})
	if len(out) > 0 {
		d.stats.DecideNanos.Store(int64(time.Since(start)))
		d.write(ctx, out, from)
	}
}

func (d *Desk) bad(r *kgo.Record, err error) {
	d.stats.Bad.Add(1)
	d.Publish(events.Record{Kind: events.KindBadRecord, Severity: events.Warning, Topic: r.Topic, Partition: r.Partition,
		Offset: r.Offset, Key: string(r.Key), Reason: "record cannot be read: " + err.Error()})
}

// Follow reads the status topic from its end: what leases drop renews them.
func (d *Desk) Follow(ctx context.Context) error {
	return d.retry(ctx, "reading the status topic", d.follow)
}

func (d *Desk) follow(ctx context.Context) error {
	client, err := kgo.NewClient(append(append([]kgo.Opt{}, d.Options...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{d.Topics.Status: {0: kgo.NewOffset().AtEnd()}}))...)
	if err != nil {
		return fmt.Errorf("configuring the Kafka client: %w", err)
	}
	defer client.Close()
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err := fetches.Err(); err != nil {
			return err // a new client steps over whatever it was: only the end counts
		}
		fetches.EachRecord(func(r *kgo.Record) { d.status(ctx, r) })
	}
}

func (d *Desk) status(ctx context.Context, r *kgo.Record) {
	if len(r.Value) == 0 {
		return
	}
	s, err := status.Decode(r.Value)
	if err != nil {
		d.bad(r, err)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.replays {
		return
	}
	if d.attacks.caught {
		d.attacks.tracker.Status(&s, d.decidesFor, time.Now())
	}
	if out := d.engine.Status(&s, d.decidesFor(schemas.InterfaceKey(s.Host, s.Interface)), time.Now()); len(out) > 0 {
		d.write(ctx, out, nil)
	}
}

// decidesFor reports whether this instance reads the rates of an interface.
// The caller holds mu.
func (d *Desk) decidesFor(key string) bool {
	return d.count > 0 && d.mine[schemas.Partition([]byte(key), d.count)]
}
