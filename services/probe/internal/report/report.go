// Package report publishes the probe's status, and watches for another probe
// that goes by the same name.
package report

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

const (
	interval    = time.Second
	minInterval = 20 * time.Millisecond // between records that an applied command causes
	// newcomer is how long after its start a probe yields to another of its
	// name; after that it is the other that is new.
	newcomer = 5 * time.Second
	silence  = schemas.StaleAfter // of the other, after which we publish again
)

// Reporter publishes one status record per interface, each second and as soon as
// a command has been applied.
type Reporter struct {
	Client  *kgo.Client
	Options []kgo.Opt // for reading the topic
	Topic   string
	BootID  string
	Host    string
	Records func() []status.Record
	Changed <-chan struct{}
	Publish func(events.Record)
	Log     *slog.Logger

	started   time.Time
	otherSeen atomic.Int64 // unix ns of the last status of another probe with our name
	skew      atomic.Int64 // ns, local clock minus the broker's
	yielding  atomic.Bool
}

// MayPublish is false while another, older probe has our name.
func (r *Reporter) MayPublish() bool {
	if !r.yielding.Load() {
		return true
	}
	if time.Since(time.Unix(0, r.otherSeen.Load())) < silence {
		return false
	}
	r.yielding.Store(false)
	return true
}

// Skew is the local clock minus the broker's, as far as a round trip shows.
func (r *Reporter) Skew() time.Duration { return time.Duration(r.skew.Load()) }

// Run publishes until ctx ends, and then says that the probe has stopped.
func (r *Reporter) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	r.publish(ctx, false)
	for {
		select {
		case <-ctx.Done():
			last, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer stop()
			r.publish(last, true)
			if err := r.Client.Flush(last); err != nil {
				r.Log.Warn("the last status was not published", "error", err)
			}
			return nil
		case <-tick.C:
		case <-r.Changed:
		}
		r.publish(ctx, false)
		select {
		case <-ctx.Done():
		case <-time.After(minInterval):
		}
	}
}

func (r *Reporter) publish(ctx context.Context, stopped bool) {
	if !r.MayPublish() {
		return
	}
	if r.Client.BufferedProduceRecords() > 64 {
		return // the broker is away: what waits is old enough
	}
	for _, s := range r.Records() {
		s.V, s.At, s.BootID, s.Host, s.Direction, s.Stopped = status.Version, time.Now(), r.BootID, r.Host, "ingress", stopped
		s.SkewMillis = r.Skew().Milliseconds()
		value, err := status.Encode(s)
		if err != nil {
			r.Log.Error("encoding the status", "error", err)
			continue
		}
		r.Client.TryProduce(ctx, kafka.Record(r.Topic, schemas.SchemaStatus, []byte(s.Key()), value), func(_ *kgo.Record, err error) {
			if err != nil && ctx.Err() == nil {
				if kafka.IsRecreated(err) {
					r.Client.PurgeTopicsFromClient(r.Topic)
				}
				r.Log.Warn("publishing the status", "error", err)
			}
		})
	}
}

// Watch reads the status topic from its end for records of our own name.
func (r *Reporter) Watch(ctx context.Context) error {
	r.started = time.Now()
	for ctx.Err() == nil {
		if err := r.watch(ctx); err != nil && ctx.Err() == nil {
			r.Log.Warn("watching the status topic", "error", err)
			time.Sleep(time.Second)
		}
	}
	return nil
}

func (r *Reporter) watch(ctx context.Context) error {
	client, err := kgo.NewClient(append(append([]kgo.Opt{}, r.Options...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: {0: kgo.NewOffset().AtEnd()}}))...)
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
			return err
		}
		fetches.EachRecord(r.see)
	}
}

func (r *Reporter) see(k *kgo.Record) {
	s, err := status.Decode(k.Value)
	if err != nil || s.Host != r.Host {
		return
	}
	if s.BootID == r.BootID {
		// The broker's stamp lies between our sending and our reading.
		r.skew.Store(int64(s.At.Add(time.Since(s.At) / 2).Sub(k.Timestamp)))
		return
	}
	if s.Stopped || !k.Timestamp.After(r.started.Add(-r.Skew())) {
		return // our own former life
	}
	r.otherSeen.Store(time.Now().UnixNano())
	if time.Since(r.started) > newcomer && !r.yielding.Load() {
		return
	}
	if !r.yielding.Swap(true) {
		r.Publish(events.Record{Kind: events.KindDuplicateName, Severity: events.Error, Interface: s.Interface,
			Reason: fmt.Sprintf("another probe (boot %s) is live as %s: this one (boot %s) publishes nothing; set WEIR_PROBE_HOST", s.BootID, s.Key(), r.BootID)})
	}
}
