// Package watch reads Weir's topics as any third party may, for the demo, the
// benchmarks and the tests: what was counted, decided, applied and reported.
package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/schemas"
)

// Record is one record as it was seen.
type Record struct {
	Topic     string
	Key       []byte
	Value     []byte
	Partition int32
	Offset    int64
	Timestamp time.Time     // the broker's
	SeenAt    time.Duration // boot time at which it was read here
}

// Reader reads topics from their beginning to the end and beyond, in the
// background.
type Reader struct {
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	handlers map[string][]func(Record)
	lastErr  error
}

// Read starts reading the named topics from their beginning. Each handler is
// called for every record of its topic, one record at a time. ctx bounds how long
// connecting may take; reading goes on until Close.
func Read(ctx context.Context, brokers string, handlers map[string]func(Record)) (*Reader, error) {
	topics := make([]string, 0, len(handlers))
	byTopic := make(map[string][]func(Record), len(handlers))
	for topic, h := range handlers {
		topics = append(topics, topic)
		byTopic[topic] = append(byTopic[topic], h)
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ConsumeTopics(topics...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500*time.Millisecond), kgo.MetadataMinAge(250*time.Millisecond),
		kgo.DialTimeout(3*time.Second), kgo.RequestTimeoutOverhead(3*time.Second),
	)
	if err != nil {
		return nil, fmt.Errorf("reading topics: %w", err)
	}
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("reaching the broker %s: %w", brokers, err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &Reader{client: client, stop: stop, done: make(chan struct{}), handlers: byTopic}
	go r.run(ctx)
	return r, nil
}

func (r *Reader) run(ctx context.Context) {
	defer close(r.done)
	for {
		fetches := r.client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		seen := traffic.BootTime()
		fetches.EachError(func(topic string, partition int32, err error) {
			if errors.Is(err, context.Canceled) {
				return
			}
			r.mu.Lock()
			r.lastErr = fmt.Errorf("reading %s/%d: %w", topic, partition, err)
			r.mu.Unlock()
		})
		fetches.EachRecord(func(k *kgo.Record) {
			rec := Record{
				Topic: k.Topic, Key: k.Key, Value: k.Value, Partition: k.Partition, Offset: k.Offset,
				Timestamp: k.Timestamp, SeenAt: seen,
			}
			for _, h := range r.handlers[k.Topic] {
				h(rec)
			}
		})
	}
}

// Err returns the last error of a fetch, nil if there was none.
func (r *Reader) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lastErr
}

// Close stops reading and waits for the last handler.
func (r *Reader) Close() {
	r.stop()
	<-r.done
	r.client.Close()
}

// Producer writes records as a third party would.
type Producer struct{ client *kgo.Client }

// NewProducer connects to the brokers.
func NewProducer(brokers string) (*Producer, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ProducerLinger(0), kgo.MetadataMinAge(250*time.Millisecond),
		kgo.ProducerBatchMaxBytes(1_000_000), kgo.RecordDeliveryTimeout(30*time.Second))
	if err != nil {
		return nil, fmt.Errorf("connecting a producer: %w", err)
	}
	return &Producer{client: client}, nil
}

// Put writes one record with the headers of its schema and returns its offset
// and when it was acknowledged.
func (p *Producer) Put(ctx context.Context, topic, schema string, key, value []byte) (int64, time.Duration, error) {
	record := &kgo.Record{Topic: topic, Key: key, Value: value}
	for _, h := range schemas.Headers(schema) {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return p.PutRecord(ctx, record)
}

// PutRecord writes a record as it is.
func (p *Producer) PutRecord(ctx context.Context, record *kgo.Record) (int64, time.Duration, error) {
	if err := p.client.ProduceSync(ctx, record).FirstErr(); err != nil {
		return 0, 0, fmt.Errorf("writing to %s: %w", record.Topic, err)
	}
	return record.Offset, traffic.BootTime(), nil
}

// Close disconnects.
func (p *Producer) Close() { p.client.Close() }
