// Package broker is how the CLI reads and writes Weir's topics: write one
// command, read a topic to its end, follow it, and compare topics with the
// contract.
package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
)

// maxBatchBytes bounds what a batch may decompress to: 20 MiB of zeros fit into
// what a broker accepts. A larger batch is skipped.
const maxBatchBytes = 16 << 20

// Client is a connection to the brokers. Use it from one goroutine at a time,
// except that Follow may run beside anything else.
type Client struct {
	Topics schemas.Topics
	opts   []kgo.Opt
	client *kgo.Client
	admin  *kadm.Client
}

// Open connects and asks a broker for an answer. opts are the connection's
// options, used for every further connection as well.
func Open(ctx context.Context, opts []kgo.Opt, topics schemas.Topics) (*Client, error) {
	// A command runs once: what it asks must not be answered from what a topic
	// was seconds ago.
	opts = append(slices.Clone(opts), kgo.MetadataMinAge(100*time.Millisecond), kgo.MaxDecompressBatchBytes(maxBatchBytes))
	client, err := kgo.NewClient(append(slices.Clone(opts),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	)...)
	if err != nil {
		return nil, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("reaching a broker: %w", err)
	}
	return &Client{Topics: topics, opts: opts, client: client, admin: kadm.NewClient(client)}, nil
}

// Close ends the connection.
func (c *Client) Close() { c.client.Close() }

// Write puts one record on the commands topic; a nil value is a tombstone. It
// returns once all in-sync replicas have it, with its offset and the broker's
// timestamp.
func (c *Client) Write(ctx context.Context, key, value []byte) (offset int64, at time.Time, err error) {
	r := &kgo.Record{Topic: c.Topics.Commands, Partition: 0, Key: key, Value: value}
	for _, h := range schemas.Headers(schemas.SchemaCommands) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	if err := c.client.ProduceSync(ctx, r).FirstErr(); err != nil {
		return 0, time.Time{}, fmt.Errorf("writing to %s: %w", c.Topics.Commands, err)
	}
	// The timestamp in the acknowledged record is still the producer's: only
	// the log knows the broker's.
	err = c.Follow(ctx, c.Topics.Commands, At(r.Offset), func(read *kgo.Record) bool {
		at = read.Timestamp
		return false
	}, nil)
	if err != nil {
		return r.Offset, time.Time{}, fmt.Errorf("reading the command back: %w", err)
	}
	return r.Offset, at, nil
}

// EndOffset returns the next offset of partition 0 of topic.
func (c *Client) EndOffset(ctx context.Context, topic string) (int64, error) {
	listed, err := c.admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return 0, topicError(topic, err)
	}
	end, _ := listed.Lookup(topic, 0)
	return end.Offset, nil
}

// Start says where reading begins.
type Start struct {
	offset int64
	since  time.Time
}

// FromStart reads everything that the topic holds.
func FromStart() Start { return Start{} }

// At reads partition 0 from offset on.
func At(offset int64) Start { return Start{offset: offset} }

// Since reads what the broker stamped at t or later.
func Since(t time.Time) Start { return Start{since: t} }

// ErrNoTopic is returned for a topic that does not exist.
var ErrNoTopic = errors.New("the topic does not exist (weir topics apply creates it)")

// span is what one partition holds at the beginning of a read.
type span struct{ from, end int64 }

// Follow calls record with each committed record from start on, and caughtUp
// (if not nil) once, when all that the topic held at the call has been read. It
// returns nil when either returns false, and an error when ctx ends first.
func (c *Client) Follow(ctx context.Context, topic string, start Start, record func(*kgo.Record) bool, caughtUp func() bool) error {
	spans, err := c.spans(ctx, topic, start)
	if err != nil {
		return err
	}
	offsets := make(map[int32]kgo.Offset, len(spans))
	for p, s := range spans {
		offsets[p] = kgo.NewOffset().At(s.from)
	}
	reader, err := kgo.NewClient(append(slices.Clone(c.opts),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: offsets}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(), // else a transaction's marker at the end would never arrive
	)...)
	if err != nil {
		return fmt.Errorf("configuring the Kafka client: %w", err)
	}
	defer reader.Close()
	done := func() bool {
		for _, s := range spans {
			if s.from < s.end {
				return false
			}
		}
		return true
	}
	for {
		if caughtUp != nil && done() {
			if !caughtUp() {
				return nil
			}
			caughtUp = nil
		}
		fetches := reader.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading %s: %w", topic, err)
		}
		for _, e := range fetches.Errors() {
			var bomb *kgo.ErrDecompressTooLarge
			if errors.As(e.Err, &bomb) {
				reader.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {bomb.Partition: {Epoch: bomb.Epoch, Offset: bomb.NextOffset}}})
				spans[bomb.Partition] = span{from: bomb.NextOffset, end: spans[bomb.Partition].end}
			} else if !isTransient(e.Err) {
				return fmt.Errorf("reading %s: %w", topic, e.Err)
			}
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			s := spans[r.Partition]
			s.from = r.Offset + 1
			spans[r.Partition] = s
			if !r.Attrs.IsControl() && !record(r) {
				return nil
			}
		}
	}
}

// spans asks what each partition of topic holds from start on.
func (c *Client) spans(ctx context.Context, topic string, start Start) (map[int32]span, error) {
	// The end comes first. Where nothing is as late as start.since, the other
	// question is answered with the end as well, asked for apart: a record that came
	// between would be behind both, and never read.
	end, err := c.admin.ListCommittedOffsets(ctx, topic)
	if err == nil {
		err = end.Error()
	}
	if err != nil {
		return nil, topicError(topic, err)
	}
	var from kadm.ListedOffsets
	if start.since.IsZero() {
		from, err = c.admin.ListStartOffsets(ctx, topic)
	} else {
		from, err = c.admin.ListOffsetsAfterMilli(ctx, start.since.UnixMilli(), topic)
	}
	if err == nil {
		err = from.Error()
	}
	if err != nil {
		return nil, topicError(topic, err)
	}
	out := make(map[int32]span)
	from.Each(func(o kadm.ListedOffset) {
		e, _ := end.Lookup(topic, o.Partition)
		if !start.since.IsZero() {
			o.Offset = min(o.Offset, e.Offset)
		}
		out[o.Partition] = span{from: max(o.Offset, start.offset), end: e.Offset}
	})
	if len(out) == 0 {
		return nil, topicError(topic, ErrNoTopic)
	}
	return out, nil
}

// Newest returns the latest timestamp that topic holds, zero if it is empty. It
// is the broker's clock, whatever ours says. A broker that cannot answer (before
// Kafka 3.0, and the embedded one, which has our clock) gets our time.
func (c *Client) Newest(ctx context.Context, topic string) (time.Time, error) {
	listed, err := c.admin.ListMaxTimestampOffsets(ctx, topic)
	if err == nil {
		err = listed.Error()
	}
	if errors.Is(err, kerr.UnsupportedVersion) {
		return time.Now(), nil
	}
	if err != nil {
		return time.Time{}, topicError(topic, err)
	}
	newest := int64(-1)
	listed.Each(func(o kadm.ListedOffset) { newest = max(newest, o.Timestamp) })
	if newest < 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(newest), nil
}
