package broker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// ErrGone is returned for an offset that the topic does not hold (any more).
var ErrGone = errors.New("the record is not retained any more")

// ReadAt reads the record at offset of one partition of topic. What retention or
// compaction has taken is ErrGone.
func (c *Client) ReadAt(ctx context.Context, topic string, partition int32, offset int64) (*kgo.Record, error) {
	var found *kgo.Record
	err := c.ReadSpan(ctx, topic, partition, offset, offset+1, func(r *kgo.Record) bool {
		found = r
		return false
	})
	if err == nil && found == nil {
		err = ErrGone
	}
	return found, err
}

// ReadSpan calls record with the committed records of one partition from offset
// from to before offset to, as far as the topic holds them, until record returns
// false. A span that begins before what is retained is ErrGone.
func (c *Client) ReadSpan(ctx context.Context, topic string, partition int32, from, to int64, record func(*kgo.Record) bool) error {
	spans, err := c.spans(ctx, topic, FromStart())
	if err != nil {
		return err
	}
	held, ok := spans[partition]
	switch {
	case !ok:
		return fmt.Errorf("%s has no partition %d", topic, partition)
	case from < held.from || from >= held.end:
		return ErrGone
	}
	to = min(to, held.end)
	reader, err := kgo.NewClient(append(slices.Clone(c.opts),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(from)}}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
	)...)
	if err != nil {
		return fmt.Errorf("configuring the Kafka client: %w", err)
	}
	defer reader.Close()
	for next := from; next < to; {
		fetches := reader.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading %s: %w", topic, err)
		}
		for _, e := range fetches.Errors() {
			var bomb *kgo.ErrDecompressTooLarge
			switch {
			case errors.As(e.Err, &bomb):
				next = bomb.NextOffset
				reader.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {partition: {Epoch: bomb.Epoch, Offset: next}}})
			case errors.Is(e.Err, kerr.OffsetOutOfRange):
				return ErrGone
			case !isTransient(e.Err):
				return fmt.Errorf("reading %s: %w", topic, e.Err)
			}
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			next = r.Offset + 1
			if r.Offset >= to {
				return nil
			}
			if !r.Attrs.IsControl() && !record(r) {
				return nil
			}
		}
	}
	return nil
}

// OffsetAt returns the first offset of one partition of topic that the broker
// stamped at t or later.
func (c *Client) OffsetAt(ctx context.Context, topic string, partition int32, t time.Time) (int64, error) {
	listed, err := c.admin.ListOffsetsAfterMilli(ctx, t.UnixMilli(), topic)
	if err == nil {
		err = listed.Error()
	}
	if err != nil {
		return 0, topicError(topic, err)
	}
	o, ok := listed.Lookup(topic, partition)
	if !ok {
		return 0, fmt.Errorf("%s has no partition %d", topic, partition)
	}
	return o.Offset, nil
}
