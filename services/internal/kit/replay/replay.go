// Package replay reads a compacted topic from its start, says when it has
// caught up, and then follows it for ever: the way in which commands, and
// whatever else is a set of keyed records, reach those who apply them.
//
// It never stores an offset and never resumes from one: a compacted log is the
// state, so every start replays it and the reader marks and sweeps.
package replay

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

	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Reader is who applies the records. All calls come from one goroutine.
type Reader interface {
	// Begin is called before the first record of a replay from the start: at
	// first, and again when the topic was recreated or lost its tail. What is
	// not seen until CaughtUp is gone.
	Begin()
	// Records are committed records in the order of the log, at most one poll's
	// worth. A nil value is a tombstone.
	Records(records []*kgo.Record)
	// Skipped is a batch that cannot be read, such as a zip bomb.
	Skipped(from, next int64, reason error)
	// Position says that everything before offset next has been handed over.
	// caughtUp is true once all that the topic held at Begin has been.
	Position(next int64, caughtUp bool)
}

// Log is one partition of a topic being read.
type Log struct {
	Topic     string
	Partition int32
	Options   []kgo.Opt
	Log       *slog.Logger
	Reach     *kafka.Reach

	next     atomic.Int64
	caughtUp atomic.Bool
}

// New returns a reader of partition 0 of topic.
func New(topic string, opts []kgo.Opt, log *slog.Logger) *Log {
	return &Log{Topic: topic, Options: opts, Log: log, Reach: new(kafka.Reach)}
}

// CaughtUp reports whether the replay has reached what the topic held when it
// began.
func (l *Log) CaughtUp() bool { return l.caughtUp.Load() }

// Next is the offset after the last record handed over.
func (l *Log) Next() int64 { return l.next.Load() }

// errRestart ends a replay that must begin again from the start.
var errRestart = errors.New("the topic is not what it was")

// Run reads until ctx ends. Neither a missing broker nor a missing topic ends
// it.
func (l *Log) Run(ctx context.Context, reader Reader) error {
	for ctx.Err() == nil {
		err := l.once(ctx, reader)
		if ctx.Err() != nil {
			return nil
		}
		l.caughtUp.Store(false)
		l.Log.Warn("replaying again", "topic", l.Topic, "reason", err)
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
	return nil
}

func (l *Log) once(ctx context.Context, reader Reader) error {
	opts := append(append([]kgo.Opt{}, l.Options...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.Topic: {l.Partition: kgo.NewOffset().AtStart()}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // a transaction's marker may be the last offset
		kgo.WithHooks(l.Reach),
	)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("configuring the Kafka client: %w", err)
	}
	defer client.Close()
	start, target, err := l.bounds(ctx, client)
	if err != nil {
		return err
	}
	reader.Begin()
	next, caught := start, start >= target
	l.next.Store(next)
	if caught { // an empty topic has nothing to wait for
		l.caughtUp.Store(true)
		reader.Position(next, true)
	}
	for {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := l.faults(client, fetches, reader, &next); err != nil {
			return err
		}
		var batch []*kgo.Record
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			next = r.Offset + 1
			if !r.Attrs.IsControl() {
				batch = append(batch, r)
			}
		}
		if len(batch) > 0 {
			reader.Records(batch)
		}
		caught = caught || next >= target
		l.next.Store(next)
		reader.Position(next, caught)
		l.caughtUp.Store(caught)
	}
}

// bounds returns the first offset and the last stable one: where an open
// transaction begins, if there is one, since nothing behind it will come.
func (l *Log) bounds(ctx context.Context, client *kgo.Client) (start, target int64, err error) {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	admin := kadm.NewClient(client)
	from, err := admin.ListStartOffsets(ctx, l.Topic)
	if err == nil {
		err = from.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the start of %s: %w", l.Topic, err)
	}
	end, err := admin.ListCommittedOffsets(ctx, l.Topic)
	if err == nil {
		err = end.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the end of %s: %w", l.Topic, err)
	}
	first, ok1 := from.Lookup(l.Topic, l.Partition)
	last, ok2 := end.Lookup(l.Topic, l.Partition)
	if !ok1 || !ok2 {
		return 0, 0, fmt.Errorf("topic %s has no partition %d", l.Topic, l.Partition)
	}
	return first.Offset, last.Offset, nil
}

// faults handles what a poll says besides records: it steps over batches that
// cannot be read and asks for a new start when the topic is another one.
func (l *Log) faults(client *kgo.Client, fetches kgo.Fetches, reader Reader, next *int64) error {
	for _, f := range fetches.Errors() {
		var bomb *kgo.ErrDecompressTooLarge
		var loss *kgo.ErrDataLoss
		switch {
		case errors.As(f.Err, &bomb):
			client.SetOffsets(map[string]map[int32]kgo.EpochOffset{
				l.Topic: {bomb.Partition: {Epoch: bomb.Epoch, Offset: bomb.NextOffset}},
			})
			reader.Skipped(*next, bomb.NextOffset, f.Err)
			*next = bomb.NextOffset
		case errors.As(f.Err, &loss), kafka.IsRecreated(f.Err), errors.Is(f.Err, kerr.OffsetOutOfRange):
			return fmt.Errorf("%w: %w", errRestart, f.Err)
		default:
			l.Log.Warn("fetching", "topic", l.Topic, "error", f.Err)
			time.Sleep(250 * time.Millisecond) // an error that repeats at once must not become a busy loop
		}
	}
	return nil
}
