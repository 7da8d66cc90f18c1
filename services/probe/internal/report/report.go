// Package report publishes the probe's status, and with it holds the probe's
// name: of several probes that go by one name only the first publishes.
package report

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
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
	maxTrip     = 2 * time.Second       // of a record that tells the brokers' clock
	restRatio   = 4                     // of rest to work: a million leases take long to look through
)

// Options say what to report, and as whom.
type Options struct {
	Client  *kgo.Client // for writing
	Kafka   []kgo.Opt   // for reading the topic
	Topic   string
	Host    string // the name
	BootID  string
	Former  string // boot id of the process whose maps this one has adopted, or ""
	Records func() []status.Record
	Changed <-chan struct{}
	Publish func(events.Record)
	Log     *slog.Logger
}

// Reporter publishes one status record per interface, each second and as soon as
// a command has been applied, unless another probe holds the name.
type Reporter struct {
	Options
	reach   *kafka.Reach
	renewal kafka.Renewal
	caught  chan struct{} // the name has become known, or free
	skew    atomic.Int64  // ns, local clock minus the broker's

	mu   sync.Mutex
	name name
}

// New returns a reporter; Run publishes, and Watch finds out whether it may.
func New(o Options) *Reporter {
	return &Reporter{Options: o, reach: new(kafka.Reach), caught: make(chan struct{}, 1),
		name: name{self: o.BootID, former: o.Former}}
}

// MayPublish is false until it is known that no other probe has our name, and
// while one has.
func (r *Reporter) MayPublish() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.name.mine()
}

// Ready says why the probe may not publish under its name, or nil.
func (r *Reporter) Ready() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.name.mine():
		return nil
	case r.name.yielded != "":
		return fmt.Errorf("another probe (boot %s) is live as %s: set WEIR_PROBE_HOST", r.name.yielded, r.Host)
	case r.name.other():
		return fmt.Errorf("%s was live as boot %s, which may be another probe: waiting until it has been silent for %v", r.Host, r.name.ledger.holder, silence)
	}
	return fmt.Errorf("it is not known yet whether another probe is live as %s", r.Host)
}

// Skew is the local clock minus the broker's, as far as a round trip shows.
func (r *Reporter) Skew() time.Duration { return time.Duration(r.skew.Load()) }

// Run publishes until ctx ends, and then says that the probe has stopped.
func (r *Reporter) Run(ctx context.Context) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return r.farewell(ctx)
		case <-tick.C:
		case <-r.Changed:
		case <-r.caught:
		}
		began := time.Now()
		r.publish(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(rest(time.Since(began))):
		}
	}
}

// rest is how long to wait after a record that took so long to make. What it had
// to wait for, such as a replay of the commands, must not keep the next one back.
func rest(took time.Duration) time.Duration {
	return min(max(minInterval, restRatio*took), interval)
}

// farewell says that the probe has stopped, of a name that is its own.
func (r *Reporter) farewell(ctx context.Context) error {
	if !r.MayPublish() {
		return nil
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer stop()
	r.write(last, r.BootID, true)
	if err := r.Client.Flush(last); err != nil {
		r.Log.Warn("the last status was not published", "error", err)
	}
	return nil
}

// reachable is how lately a broker must have answered: the reader's fetch
// returns each second.
const reachable = 4 * time.Second

func (r *Reporter) publish(ctx context.Context) {
	r.mu.Lock()
	may := r.name.claimable(r.reach.Within(reachable), time.Now())
	inherits := r.name.inherits()
	r.mu.Unlock()
	if !may || r.Client.BufferedProduceRecords() > 64 {
		return // if the broker is away, what waits is old enough
	}
	r.renewal.Renew(r.Client, r.Topic)
	if inherits {
		r.write(ctx, r.Former, true)
	}
	r.write(ctx, r.BootID, false)
}

func (r *Reporter) write(ctx context.Context, boot string, stopped bool) {
	for _, s := range r.Records() {
		s.V, s.At, s.BootID, s.Host, s.Direction, s.Stopped = status.Version, time.Now(), boot, r.Host, "ingress", stopped
		s.SkewMillis = r.Skew().Milliseconds()
		value, err := status.Encode(s)
		if err != nil {
			r.Log.Error("encoding the status", "error", err)
			continue
		}
		r.Client.TryProduce(ctx, kafka.Record(r.Topic, schemas.SchemaStatus, []byte(s.Key()), value), func(_ *kgo.Record, err error) {
			if err != nil && ctx.Err() == nil {
				r.renewal.Note(err)
				r.Log.Warn("publishing the status", "error", err)
			}
		})
	}
}

// errClock says that the clock is not what the topic was read by.
var errClock = errors.New("the local clock differs from the brokers'")

// see takes one record of the status topic.
func (r *Reporter) see(k *kgo.Record, live bool) error {
	s, err := status.Decode(k.Value)
	if err != nil || s.Host != r.Host {
		return nil // the readers of the topic report bad records
	}
	if s.BootID == r.BootID && live {
		if err := r.compareClocks(s.At, k.Timestamp); err != nil {
			return err
		}
	}
	r.mu.Lock()
	duplicate := r.name.take(s.BootID, s.Stopped, k.Timestamp, live, time.Now())
	r.mu.Unlock()
	if duplicate {
		r.Publish(events.Record{Kind: events.KindDuplicateName, Severity: events.Error, Interface: s.Interface,
			Reason: fmt.Sprintf("another probe (boot %s) is live as %s: this one (boot %s) publishes nothing; set WEIR_PROBE_HOST", s.BootID, s.Key(), r.BootID)})
	}
	return nil
}

// compareClocks learns the skew from a record that was sent at a local time and
// stamped by the broker, which was halfway between sending and now.
func (r *Reporter) compareClocks(sent, stamped time.Time) error {
	trip := time.Since(sent)
	if trip > maxTrip {
		return nil // it waited for a broker, nobody knows where
	}
	before, skew := r.Skew(), sent.Add(trip/2).Sub(stamped)
	r.skew.Store(int64(skew))
	if (skew - before).Abs() > maxTrip {
		return fmt.Errorf("%w by %v", errClock, skew)
	}
	return nil
}
