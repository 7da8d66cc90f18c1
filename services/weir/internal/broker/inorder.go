package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// queueBytes is how much of one partition waits for the others.
const queueBytes = 4 << 20

// Offsets returns, for each partition of topic, the first offset that the broker
// stamped at t or later; its end if there is none.
func (c *Client) Offsets(ctx context.Context, topic string, t time.Time) (map[int32]int64, error) {
	spans, err := c.spans(ctx, topic, Since(t))
	if err != nil {
		return nil, err
	}
	out := make(map[int32]int64, len(spans))
	for p, s := range spans {
		out[p] = s.from
	}
	return out, nil
}

// Ends returns the next offset of each partition of topic.
func (c *Client) Ends(ctx context.Context, topic string) (map[int32]int64, error) {
	spans, err := c.spans(ctx, topic, FromStart())
	if err != nil {
		return nil, err
	}
	out := make(map[int32]int64, len(spans))
	for p, s := range spans {
		out[p] = s.end
	}
	return out, nil
}

// Span is a part of a topic: from one set of offsets to another, by partition,
// the latter excluded.
type Span struct {
	Topic    string
	From, To map[int32]int64
}

// InOrder calls record with what the spans hold, in the order of the broker's
// timestamps: of equal ones the earlier span first, then the lower partition. An
// error of record ends it.
func (c *Client) InOrder(ctx context.Context, spans []Span, record func(*kgo.Record) error) error {
	m := merge{queues: map[place]*queue{}}
	offsets := map[string]map[int32]kgo.Offset{}
	for i, s := range spans {
		for p, end := range s.To {
			if s.From[p] < end {
				at := place{s.Topic, p}
				m.queues[at] = &queue{order: i, next: s.From[p], end: end}
				if offsets[s.Topic] == nil {
					offsets[s.Topic] = map[int32]kgo.Offset{}
				}
				offsets[s.Topic][p] = kgo.NewOffset().At(s.From[p])
			}
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	reader, err := kgo.NewClient(append(slices.Clone(c.opts),
		kgo.ConsumePartitions(offsets),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(16<<20), kgo.FetchMaxPartitionBytes(queueBytes/2),
	)...)
	if err != nil {
		return fmt.Errorf("configuring the Kafka client: %w", err)
	}
	defer reader.Close()
	for {
		if r := m.pop(reader); r != nil {
			if err := record(r); err != nil {
				return err
			}
			continue
		}
		if m.done() {
			return nil
		}
		fetches := reader.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("reading history: %w", err)
		}
		if err := m.push(reader, fetches); err != nil {
			return err
		}
	}
}

// merge holds what has been read ahead of each partition.
type merge struct{ queues map[place]*queue }

// place is one partition of one topic.
type place struct {
	topic     string
	partition int32
}

type queue struct {
	order     int // of its span
	records   []*kgo.Record
	bytes     int
	next, end int64
	paused    bool
}

// done reports whether all has been handed over.
func (m *merge) done() bool {
	for _, q := range m.queues {
		if len(q.records) > 0 || q.next < q.end {
			return false
		}
	}
	return true
}

// pop returns the earliest record, or nil while a partition that has more to come
// has nothing waiting.
func (m *merge) pop(reader *kgo.Client) *kgo.Record {
	var at place
	var first *queue
	for p, q := range m.queues {
		if len(q.records) == 0 {
			if q.next < q.end {
				return nil
			}
			continue
		}
		if first == nil || cmp.Or(q.records[0].Timestamp.Compare(first.records[0].Timestamp),
			cmp.Compare(q.order, first.order), cmp.Compare(p.partition, at.partition)) < 0 {
			first, at = q, p
		}
	}
	if first == nil {
		return nil
	}
	r := first.records[0]
	first.records[0] = nil
	first.records = first.records[1:]
	first.bytes -= len(r.Value)
	if first.paused && first.next < first.end && first.bytes < queueBytes/2 {
		first.paused = false
		reader.ResumeFetchPartitions(map[string][]int32{at.topic: {at.partition}})
	}
	return r
}

// push takes what a poll brought.
func (m *merge) push(reader *kgo.Client, fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		var bomb *kgo.ErrDecompressTooLarge
		if errors.As(e.Err, &bomb) {
			reader.SetOffsets(map[string]map[int32]kgo.EpochOffset{e.Topic: {bomb.Partition: {Epoch: bomb.Epoch, Offset: bomb.NextOffset}}})
			if q := m.queues[place{e.Topic, bomb.Partition}]; q != nil {
				q.next = bomb.NextOffset
			}
		} else if !isTransient(e.Err) {
			return fmt.Errorf("reading %s: %w", e.Topic, e.Err)
		}
	}
	for it := fetches.RecordIter(); !it.Done(); {
		r := it.Next()
		q := m.queues[place{r.Topic, r.Partition}]
		if q == nil || r.Offset < q.next {
			continue
		}
		q.next = r.Offset + 1
		if r.Offset < q.end && !r.Attrs.IsControl() {
			q.records = append(q.records, r)
			q.bytes += len(r.Value)
		}
		if !q.paused && (q.bytes >= queueBytes || q.next >= q.end) {
			q.paused = true
			reader.PauseFetchPartitions(map[string][]int32{r.Topic: {r.Partition}})
		}
	}
	return nil
}
