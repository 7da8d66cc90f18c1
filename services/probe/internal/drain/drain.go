package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Datapath is what the drain needs of the data plane.
type Datapath interface {
	Drain() (xdp.Drained, error)
	Commit()
}

// Loop drains, publishes, and commits once the broker has acknowledged. While
// it waits, the kernel goes on counting into the open window: the next record
// then covers a longer time, and nothing is buffered here.
type Loop struct {
	Datapath   Datapath
	Client     *kgo.Client
	Topic      string
	Window     time.Duration
	MaxSources int
	IPv6Prefix uint8
	Host       string
	Name       func(ifindex int) (string, bool) // of an attached interface
	MayPublish func() bool                      // false: another probe has our name
	Publish    func(events.Record)
	Log        *slog.Logger

	stats   Stats
	encoder counts.Encoder
	mu      sync.Mutex
	seqs    map[string]uint64
}

// Stats are the loop's counters; safe to read at any time.
type Stats struct {
	Windows, Records, Bytes, Retries, Shed, Failed atomic.Uint64
	DrainNanos, PublishNanos                       atomic.Int64 // of the last window
	Waiting                                        atomic.Int64 // windows that have ended and are not acknowledged
}

// Stats returns the loop's counters.
func (l *Loop) Stats() *Stats { return &l.stats }

// Seq returns the last published window of an interface.
func (l *Loop) Seq(ifname string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seqs[ifname]
}

// Run works until ctx ends.
func (l *Loop) Run(ctx context.Context) error {
	l.seqs = map[string]uint64{}
	ticker := time.NewTicker(l.Window)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !l.MayPublish() {
			continue
		}
		if err := l.window(ctx); err != nil && ctx.Err() == nil {
			l.stats.Failed.Add(1)
			l.Log.Error("ending a window", "error", err)
		}
	}
}

func (l *Loop) window(ctx context.Context) error {
	start := time.Now()
	drained, err := l.Datapath.Drain()
	if err != nil {
		return fmt.Errorf("draining: %w", err)
	}
	l.stats.Waiting.Store(1)
	records := l.encode(&drained)
	l.stats.DrainNanos.Store(int64(time.Since(start)))
	start = time.Now()
	if err := l.publish(ctx, records); err != nil {
		return err
	}
	l.Datapath.Commit()
	l.stats.Waiting.Store(0)
	l.stats.PublishNanos.Store(int64(time.Since(start)))
	l.stats.Windows.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range drained.Windows {
		if name, ok := l.Name(drained.Windows[i].Ifindex); ok {
			l.seqs[name] = drained.Windows[i].Seq
		}
	}
	return nil
}

func (l *Loop) encode(d *xdp.Drained) []*kgo.Record {
	now, boot := time.Now(), xdp.BootTime()
	span := Span{Start: now.Add(d.Start - boot), End: now.Add(d.End - boot), Duration: max(time.Millisecond, d.End-d.Start)}
	var out []*kgo.Record
	for i := range d.Windows {
		w := &d.Windows[i]
		name, ok := l.Name(w.Ifindex)
		if !ok {
			continue // detached since: nobody would know whose counts these are
		}
		id := Identity{Host: l.Host, Interface: name, Ifindex: uint32(w.Ifindex), IPv6PrefixLength: l.IPv6Prefix}
		for _, r := range Records(w, id, span, l.MaxSources) {
			if r.Totals != nil {
				l.stats.Shed.Add(r.Totals.TailSources)
			}
			value, err := l.encoder.Append(nil, &r)
			if err != nil {
				// Trying again would fail again, for ever: the record is given up,
				// and readers see its window or chunk missing.
				l.stats.Failed.Add(1)
				l.Publish(events.Record{Kind: events.KindBadRecord, Severity: events.Error, Interface: name,
					Reason: fmt.Sprintf("chunk %d of window %d is given up, it cannot be encoded: %v", r.Chunk, r.Seq, err)})
				continue
			}
			l.stats.Bytes.Add(uint64(len(value)))
			out = append(out, kafka.Record(l.Topic, schemas.SchemaCounts, []byte(r.Key()), value))
		}
	}
	return out
}

// publish returns when every record is acknowledged, however long that takes.
// Only ctx ends it early, and then the window is not committed.
func (l *Loop) publish(ctx context.Context, records []*kgo.Record) error {
	for len(records) > 0 {
		failed, err := l.try(ctx, records)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			return nil
		}
		l.stats.Retries.Add(uint64(len(failed)))
		l.Log.Warn("publishing counts; trying again", "records", len(failed), "error", err)
		if kafka.IsRecreated(err) {
			// The client would fail its records for ever: it knows the topic by
			// an id that no longer exists.
			l.Client.PurgeTopicsFromClient(l.Topic)
		}
		records = failed
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return nil
}

// try sends records once. It returns those that failed and why, or, when ctx
// ends, nothing: a record that was sent and not answered cannot be taken back,
// and its promise may not come before the client is closed.
func (l *Loop) try(ctx context.Context, records []*kgo.Record) (failed []*kgo.Record, last error) {
	type outcome struct {
		record *kgo.Record
		err    error
	}
	outcomes := make(chan outcome, len(records))
	for _, r := range records {
		l.Client.Produce(ctx, r, func(r *kgo.Record, err error) { outcomes <- outcome{r, err} })
	}
	for range records {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case o := <-outcomes:
			if o.err == nil {
				l.stats.Records.Add(1)
				continue
			}
			failed, last = append(failed, again(o.record)), o.err
		}
	}
	return failed, last
}

// again returns a record that the client has not touched.
func again(r *kgo.Record) *kgo.Record {
	return &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers}
}

// Ready says why counts are not flowing, or nil.
func (l *Loop) Ready() error {
	if l.stats.Windows.Load() == 0 {
		return errors.New("no window has been published yet")
	}
	return nil
}
