package gokakit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Options describe a processor.
type Options struct {
	Kafka    *kafka.Config
	Client   *kgo.Client // for asking the brokers before goka does
	ClientID string
	Instance string // static membership; the name outlives restarts
	Graph    *goka.GroupGraph
	Table    string // topic of the group table; equal to the group's name
	Schema   string // header of the table's records
	Log      *slog.Logger
	Assigned func(partitions map[int32]bool) // called with each assignment, before its records; nil: nobody
	Extra    []goka.ProcessorOption          // a test's own
}

// Supervisor runs a processor, and builds it anew whenever it ends.
type Supervisor struct {
	options  Options
	mu       sync.Mutex
	current  *goka.Processor
	restarts atomic.Uint64
}

// NewSupervisor returns a supervisor; Run works.
func NewSupervisor(o Options) *Supervisor { return &Supervisor{options: o} }

// Restarts counts how often the processor had to be built anew.
func (s *Supervisor) Restarts() uint64 { return s.restarts.Load() }

// Ready says why the table cannot be read yet, or nil. Before that, no value may
// be asked for: goka has a data race there.
func (s *Supervisor) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || !s.current.Recovered() {
		return errors.New("the table has not been recovered yet")
	}
	return nil
}

// Visit runs the graph's visitor over every value of the table, if it can.
func (s *Supervisor) Visit(ctx context.Context, name string, meta any) error {
	s.mu.Lock()
	p := s.current
	s.mu.Unlock()
	if p == nil || !p.Recovered() {
		return nil
	}
	if err := p.VisitAll(ctx, name, meta); err != nil && !errors.Is(err, goka.ErrVisitAborted) {
		return fmt.Errorf("visiting the table: %w", err)
	}
	return nil
}

// Run works until ctx ends.
func (s *Supervisor) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.restarts.Add(1)
		s.options.Log.Warn("processor ended; building it anew", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil
}

func (s *Supervisor) once(ctx context.Context) error {
	// goka would wait for a broker for ever, deaf to its context.
	ping, stop := context.WithTimeout(ctx, 5*time.Second)
	defer stop()
	if err := s.options.Client.Ping(ping); err != nil {
		return fmt.Errorf("reaching a broker: %w", err)
	}
	p, err := s.build(ping)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.current = p
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.current = nil
		s.mu.Unlock()
	}()
	return p.Run(ctx)
}

func (s *Supervisor) build(ctx context.Context) (*goka.Processor, error) {
	o := &s.options
	copies, err := replication(ctx, o.Client, o.Table)
	if err != nil {
		return nil, err
	}
	config, err := saramaConfig(o.Kafka, o.ClientID, o.Instance)
	if err != nil {
		return nil, err
	}
	// The topic manager must give up: nobody can interrupt it.
	impatient := *config
	impatient.Metadata.Retry.Max = 3
	tm := goka.NewTopicManagerConfig()
	tm.NoCreate = true
	tm.MismatchBehavior = goka.TMConfigMismatchBehaviorFail
	tm.Table.CleanupPolicy = "compact,delete"
	tm.Table.Replication = copies
	tm.Stream.Replication = copies
	headers := goka.Headers{}
	for _, h := range schemas.Headers(o.Schema) {
		headers[h.Key] = h.Value
	}
	p, err := goka.NewProcessor(o.Kafka.Brokers, o.Graph, append([]goka.ProcessorOption{
		goka.WithClientID(o.ClientID),
		goka.WithHasher(schemas.NewHash32),
		goka.WithStorageBuilder(newMapStore),
		goka.WithTopicManagerBuilder(goka.TopicManagerBuilderWithConfig(&impatient, tm)),
		goka.WithConsumerGroupBuilder(groupBuilder(config)),
		goka.WithConsumerSaramaBuilder(goka.SaramaConsumerBuilderWithConfig(config)),
		goka.WithProducerBuilder(goka.ProducerBuilderWithConfig(config)),
		goka.WithProducerDefaultHeaders(headers),
		goka.WithNilHandling(goka.NilProcess), // a null value is a bad record, not nothing
		goka.WithLogger(logger{o.Log}),
		goka.WithRebalanceCallback(o.assigned),
	}, o.Extra...)...)
	if err != nil {
		return nil, fmt.Errorf("building the processor: %w", err)
	}
	return p, nil
}

// assigned implements goka.RebalanceCallback.
func (o *Options) assigned(a goka.Assignment) {
	if o.Assigned == nil {
		return
	}
	partitions := make(map[int32]bool, len(a))
	for p := range a {
		partitions[p] = true
	}
	o.Assigned(partitions)
}

// TableIsGroup makes a group's table topic carry the group's name, so that the
// table is a topic of the contract. goka knows this only as a global.
func TableIsGroup() { goka.SetTableSuffix("") }

// logger passes goka's talk on as debug.
type logger struct{ log *slog.Logger }

// Printf implements goka's logger.
func (l logger) Printf(format string, args ...any) { l.log.Debug(fmt.Sprintf(format, args...)) }

// Debugf implements goka's logger.
func (l logger) Debugf(string, ...any) {}

// Print implements goka's logger.
func (l logger) Print(args ...any) { l.log.Debug(fmt.Sprint(args...)) }

// Println implements goka's logger.
func (l logger) Println(args ...any) { l.log.Debug(fmt.Sprint(args...)) }
