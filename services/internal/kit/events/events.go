// Package events publishes to weir.events.v1 without ever blocking or failing
// its caller: what does not fit is counted and dropped.
package events

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Limits of what one service says: a flood of bad input must not become a flood
// of events.
const (
	queueLength = 1024
	perSecond   = 100
	burst       = 1000
	retryEvery  = 500 * time.Millisecond
	retryFor    = 30 * time.Second // from when it happened; then it is dropped
	lastWords   = 2 * time.Second  // to send what is queued when the service stops
)

// Publisher is the way out for events. The zero value is not usable.
type Publisher struct {
	topic   string
	service string
	host    string
	log     *slog.Logger
	queue   chan events.Record
	failed  chan events.Record // to be sent again
	renewal kafka.Renewal
	dropped atomic.Uint64
	sent    atomic.Uint64
}

// New returns a publisher; Run sends.
func New(topic, service, host string, log *slog.Logger) *Publisher {
	return &Publisher{topic: topic, service: service, host: host, log: log,
		queue: make(chan events.Record, queueLength), failed: make(chan events.Record, queueLength)}
}

// Publish queues e and logs it. Time, service and host are filled in.
func (p *Publisher) Publish(e events.Record) {
	e.V = events.Version
	if e.At.IsZero() {
		e.At = time.Now()
	}
	e.Service = p.service
	if e.Host == "" {
		e.Host = p.host
	}
	if e.Severity == "" {
		e.Severity = events.Info
	}
	e.Reason = schemas.Printable(e.Reason, 1000)
	e.Key = schemas.Printable(e.Key, 256)
	select {
	case p.queue <- e:
	default:
		p.dropped.Add(1)
	}
}

// Counts returns how many events were sent and how many dropped.
func (p *Publisher) Counts() (sent, dropped uint64) { return p.sent.Load(), p.dropped.Load() }

// Run sends queued events until ctx ends, and then what is left. While the broker is away they wait,
// and those that fail, as when the topic was deleted, are sent again for a while.
func (p *Publisher) Run(ctx context.Context, client *kgo.Client) error {
	retry := time.NewTicker(retryEvery)
	defer retry.Stop()
	tokens, last := float64(burst), time.Now()
	for {
		select {
		case <-ctx.Done():
			p.finish(ctx, client)
			return nil
		case <-retry.C:
			p.renewal.Renew(client, p.topic)
			for range len(p.failed) {
				p.send(ctx, client, <-p.failed)
			}
		case e := <-p.queue:
			now := time.Now()
			tokens = min(burst, tokens+perSecond*now.Sub(last).Seconds())
			last = now
			if tokens < 1 {
				p.dropped.Add(1)
				continue
			}
			tokens--
			p.write(ctx, e)
			p.send(ctx, client, e)
		}
	}
}

// finish sends what is queued, if a broker takes it.
func (p *Publisher) finish(ctx context.Context, client *kgo.Client) {
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer stop()
	for range len(p.queue) {
		e := <-p.queue
		p.write(last, e)
		p.send(last, client, e)
	}
	if err := client.Flush(last); err != nil {
		p.log.Warn("the last events were not published", "error", err)
	}
}

// write logs an event.
func (p *Publisher) write(ctx context.Context, e events.Record) {
	level := slog.LevelInfo
	if e.Severity != events.Info {
		level = slog.LevelWarn
	}
	p.log.Log(ctx, level, e.Reason, "event", e.Kind, "interface", e.Interface, "key", e.Key, "offset", e.Offset)
}

func (p *Publisher) send(ctx context.Context, client *kgo.Client, e events.Record) {
	value, err := events.Encode(e)
	if err != nil {
		p.log.Error("encoding an event", "error", err)
		p.dropped.Add(1)
		return
	}
	// What has been handed over is sent also after ctx has ended: finish waits.
	client.TryProduce(context.WithoutCancel(ctx), kafka.Record(p.topic, schemas.SchemaEvents, []byte(e.RecordKey()), value), func(_ *kgo.Record, err error) {
		if err == nil {
			p.sent.Add(1)
			return
		}
		p.renewal.Note(err)
		p.again(ctx, e)
	})
}

// again queues an event that was not sent, unless it is old.
func (p *Publisher) again(ctx context.Context, e events.Record) {
	if ctx.Err() == nil && time.Since(e.At) < retryFor {
		select {
		case p.failed <- e:
			return
		default:
		}
	}
	p.dropped.Add(1)
}
