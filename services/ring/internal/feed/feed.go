// Package feed reads the topics into the picture and writes commands.
package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/replay"
	"github.com/weir-net/weir/services/ring/internal/live"
)

// Picture is who is told what the topics say.
type Picture interface {
	Rates(key string, value []byte, at time.Time) error
	Status(key string, value []byte, at time.Time) error
	Event(value []byte, at time.Time) error
	Attack(key, value []byte) error
	BeginAttacks()
	AttacksCaughtUp()
	Command(key, value []byte, offset int64, at time.Time) error
	BeginCommands()
	CommandsCaughtUp()
	SetLink(live.Link)
}

// Feed reads.
type Feed struct {
	Topics  schemas.Topics
	Options []kgo.Opt
	Picture Picture
	Log     *slog.Logger

	reach    kafka.Reach
	commands atomic.Bool // caught up
	rest     atomic.Bool // caught up
	reason   atomic.Pointer[string]
}

const (
	// eventsBack is how much of the events a start shows.
	eventsBack = time.Hour
	// silence is after how long without an answer the brokers are called lost.
	silence = 3 * time.Second
	// Fetches gather for fetchWait unless fetchBytes are there: thousands of
	// small records a second would otherwise come one by one.
	fetchWait  = 50 * time.Millisecond
	fetchBytes = 256 << 10
)

// Run reads rates, status, attacks and events until ctx ends. No trouble with the
// brokers or the topics ends it.
func (f *Feed) Run(ctx context.Context) error {
	go f.watch(ctx)
	for ctx.Err() == nil {
		if err := f.once(ctx); ctx.Err() == nil {
			f.say(err)
			f.Log.Warn("reading again from the start", "reason", err)
			pause(ctx, time.Second)
		}
	}
	return nil
}

// RunCommands reads commands until ctx ends.
func (f *Feed) RunCommands(ctx context.Context) error {
	return replay.New(f.Topics.Commands, f.Options, f.Log).Run(ctx, &commandReader{f})
}

// watch says how the connection is.
func (f *Feed) watch(ctx context.Context) {
	t := time.NewTicker(250 * time.Millisecond)
	defer t.Stop()
	var last live.Link
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		link := live.Link{Up: f.reach.Within(silence), CaughtUp: f.commands.Load() && f.rest.Load(), Since: last.Since}
		if link.Up != last.Up || last.Since.IsZero() {
			link.Since = time.Now()
			f.Log.Info("connection to the brokers", "up", link.Up)
		}
		if r := f.reason.Load(); r != nil && !(link.Up && link.CaughtUp) {
			link.Reason = *r
		}
		last = link
		f.Picture.SetLink(link)
	}
}

func (f *Feed) say(err error) {
	text := ""
	if err != nil {
		text = schemas.Printable(err.Error(), 200)
	}
	f.reason.Store(&text)
}

func (f *Feed) once(ctx context.Context) error {
	opts := append(append([]kgo.Opt{}, f.Options...),
		kgo.ConsumeTopics(f.Topics.Rates, f.Topics.Status, f.Topics.Attacks),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			f.Topics.Events: {0: kgo.NewOffset().AfterMilli(time.Now().Add(-eventsBack).UnixMilli())},
		}),
		kgo.FetchIsolationLevel(kgo.ReadUncommitted()),
		kgo.FetchMaxWait(fetchWait), kgo.FetchMinBytes(fetchBytes),
		kgo.WithHooks(&f.reach),
	)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("configuring the Kafka client: %w", err)
	}
	defer client.Close()
	f.rest.Store(false)
	behind, err := f.ends(ctx, client)
	if err != nil {
		return err
	}
	f.Picture.BeginAttacks()
	attacks := false // caught up
	for {
		// First of all: topics that hold nothing have nothing to wait for.
		if len(behind[f.Topics.Attacks]) == 0 && !attacks {
			attacks = true
			f.Picture.AttacksCaughtUp()
		}
		if attacks && len(behind[f.Topics.Rates])+len(behind[f.Topics.Status]) == 0 && !f.rest.Swap(true) {
			f.Log.Info("caught up")
			f.say(nil)
		}
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f.faults(ctx, client, fetches); err != nil {
			return err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			for _, r := range p.Records {
				f.take(r)
			}
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= behind[p.Topic][p.Partition] {
				delete(behind[p.Topic], p.Partition)
			}
		})
	}
}

// ends returns the next offset of each partition that holds something.
func (f *Feed) ends(ctx context.Context, client *kgo.Client) (map[string]map[int32]int64, error) {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	admin := kadm.NewClient(client)
	names := []string{f.Topics.Rates, f.Topics.Status, f.Topics.Attacks, f.Topics.Events}
	start, err := admin.ListStartOffsets(ctx, names...)
	if err == nil {
		err = start.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking where the topics start: %w", err)
	}
	end, err := admin.ListEndOffsets(ctx, names...)
	if err == nil {
		err = end.Error()
	}
	if err != nil {
		return nil, fmt.Errorf("asking where the topics end: %w", err)
	}
	out := make(map[string]map[int32]int64)
	end.Each(func(e kadm.ListedOffset) {
		if out[e.Topic] == nil {
			out[e.Topic] = make(map[int32]int64)
		}
		if s, ok := start.Lookup(e.Topic, e.Partition); ok && s.Offset < e.Offset {
			out[e.Topic][e.Partition] = e.Offset
		}
	})
	return out, nil
}

// faults steps over a batch that cannot be read, and asks for a new start when a
// topic is another one than before.
func (f *Feed) faults(ctx context.Context, client *kgo.Client, fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		var bomb *kgo.ErrDecompressTooLarge
		var loss *kgo.ErrDataLoss
		switch {
		case errors.As(e.Err, &bomb):
			f.Log.Warn("stepping over a batch", "topic", bomb.Topic, "partition", bomb.Partition, "error", e.Err)
			client.SetOffsets(map[string]map[int32]kgo.EpochOffset{bomb.Topic: {bomb.Partition: {Epoch: bomb.Epoch, Offset: bomb.NextOffset}}})
		case errors.As(e.Err, &loss), kafka.IsRecreated(e.Err), errors.Is(e.Err, kerr.OffsetOutOfRange):
			return fmt.Errorf("reading %s: %w", e.Topic, e.Err)
		default:
			f.say(e.Err)
			f.Log.Warn("fetching", "topic", e.Topic, "error", e.Err)
			pause(ctx, 250*time.Millisecond)
		}
	}
	return nil
}

func (f *Feed) take(r *kgo.Record) {
	var err error
	switch r.Topic {
	case f.Topics.Rates:
		err = f.Picture.Rates(string(r.Key), r.Value, r.Timestamp)
	case f.Topics.Status:
		err = f.Picture.Status(string(r.Key), r.Value, r.Timestamp)
	case f.Topics.Attacks:
		err = f.Picture.Attack(r.Key, r.Value)
	case f.Topics.Events:
		err = f.Picture.Event(r.Value, r.Timestamp)
	}
	if err != nil {
		// Counted by the picture; one bad writer must not fill the log.
		f.Log.Debug("a record that cannot be read", "topic", r.Topic, "offset", r.Offset, "error", err)
	}
}

// commandReader hands commands to the picture.
type commandReader struct{ f *Feed }

var _ replay.Reader = (*commandReader)(nil)

// Begin implements replay.Reader.
func (c *commandReader) Begin() { c.f.Picture.BeginCommands() }

// Records implements replay.Reader.
func (c *commandReader) Records(records []*kgo.Record) {
	for _, r := range records {
		if err := c.f.Picture.Command(r.Key, r.Value, r.Offset, r.Timestamp); err != nil {
			c.f.Log.Debug("a command that no probe applies", "offset", r.Offset, "error", err)
		}
	}
}

// Skipped implements replay.Reader.
func (c *commandReader) Skipped(from, next int64, reason error) {
	c.f.Log.Warn("stepping over commands", "from", from, "next", next, "error", reason)
}

// Position implements replay.Reader.
func (c *commandReader) Position(_ int64, caughtUp bool) {
	if caughtUp && !c.f.commands.Load() {
		c.f.Picture.CommandsCaughtUp()
	}
	c.f.commands.Store(caughtUp)
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
