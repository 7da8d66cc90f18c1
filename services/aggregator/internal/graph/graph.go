// Package graph is the aggregator's stream: counts in, the table of rates out.
package graph

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lovoo/goka"
	"github.com/lovoo/goka/codec"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/window"
	"github.com/weir-net/weir/services/internal/gokakit"
)

// visitor is the name of the edge that the clock drives.
const visitor = "age"

// tick is how often the table is looked through for silent interfaces.
const tick = 2 * time.Second

// Stream holds what the callbacks need besides their record.
type Stream struct {
	Topics  schemas.Topics
	Publish func(events.Record)
	Log     *slog.Logger
	Now     func() time.Time

	mu     sync.Mutex
	states map[string]*entry
	stats  Stats
}

// entry is one interface in memory. Only the goroutine of its partition works
// on it; the map is shared.
type entry struct {
	state     *window.State
	stored    []byte    // the table's value that the state led to
	seen      time.Time // when the last window arrived here
	partition int32
}

// Stats are the stream's counters.
type Stats struct {
	Chunks, Windows, Duplicates, Late, Bad, Deleted atomic.Uint64
	ApplyNanos                                      atomic.Int64 // of the last window
}

// New returns a stream.
func New(topics schemas.Topics, publish func(events.Record), log *slog.Logger) *Stream {
	return &Stream{Topics: topics, Publish: publish, Log: log, Now: time.Now, states: map[string]*entry{}}
}

// Stats returns the counters.
func (s *Stream) Stats() *Stats { return &s.stats }

// Interfaces returns how many interfaces are in memory.
func (s *Stream) Interfaces() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.states)
}

// Graph is the design: one input, one table, one clock.
func (s *Stream) Graph() *goka.GroupGraph {
	return goka.DefineGroup(goka.Group(s.Topics.Rates),
		goka.Input(goka.Stream(s.Topics.Counts), gokakit.Codec[counts.Record]{DecodeFunc: counts.Decode, EncodeFunc: counts.Encode}, s.count),
		goka.Persist(new(codec.Bytes)), // decoded only by who takes an interface over
		goka.Visitor(visitor, s.age),
	)
}

// count applies one chunk of one window.
func (s *Stream) count(ctx goka.Context, message any) {
	start := time.Now()
	s.stats.Chunks.Add(1)
	record, err := s.check(ctx, message)
	if err != nil {
		s.bad(ctx, err)
		return
	}
	e, _ := s.entry(ctx)
	switch e.state.Apply(record) {
	case window.Duplicate:
		s.stats.Duplicates.Add(1)
	case window.Late:
		s.stats.Late.Add(1)
	case window.Updated:
		e.seen = s.Now()
		r := e.state.Record()
		r.EvidencePartition, r.EvidenceOffset = ctx.Partition(), ctx.Offset()
		if err := e.write(ctx); err != nil {
			s.bad(ctx, err)
			return
		}
		s.stats.Windows.Add(1)
		s.stats.ApplyNanos.Store(int64(time.Since(start)))
	}
}

func (s *Stream) check(ctx goka.Context, message any) (*counts.Record, error) {
	switch m := message.(type) {
	case counts.Record:
		if m.Key() != ctx.Key() {
			return nil, fmt.Errorf("the key is %s, the value is of %s", schemas.Printable(ctx.Key(), 128), m.Key())
		}
		return &m, nil
	case gokakit.Bad:
		return nil, m.Err
	case nil:
		return nil, fmt.Errorf("the record has no value")
	}
	return nil, fmt.Errorf("a %T cannot be counted", message)
}

func (s *Stream) bad(ctx goka.Context, err error) {
	s.stats.Bad.Add(1)
	s.Publish(events.Record{Kind: events.KindBadRecord, Severity: events.Warning, Topic: string(ctx.Topic()),
		Partition: ctx.Partition(), Offset: ctx.Offset(), Key: ctx.Key(), Reason: "counts record cannot be used: " + err.Error()})
}

// write sets the table's value.
func (e *entry) write(ctx goka.Context) error {
	value, err := rates.Encode(*e.state.Record())
	if err != nil {
		return err
	}
	e.stored = value
	ctx.SetValue(value)
	return nil
}

// entry returns the interface's state: the one in memory if the table agrees,
// else what the table says. It is false if the table's value is no record.
func (s *Stream) entry(ctx goka.Context) (*entry, bool) {
	s.mu.Lock()
	e := s.states[ctx.Key()]
	s.mu.Unlock()
	value, ok := ctx.Value().([]byte)
	if e != nil && (!ok || bytes.Equal(value, e.stored)) {
		return e, true
	}
	stored, err := decode(value)
	switch {
	case e != nil && (err != nil || e.state.Matches(&stored)):
		e.stored = value
		return e, err == nil
	case ok && err == nil:
		e = &entry{state: window.Resume(&stored), stored: value}
	default:
		e = &entry{state: new(window.State), stored: value}
	}
	e.partition = ctx.Partition()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.states[ctx.Key()] = e
	return e, err == nil
}

// decode reads a value of the table as a codec that never fails would.
func decode(value []byte) (rates.Record, error) {
	v, err := gokakit.Codec[rates.Record]{DecodeFunc: rates.Decode}.Decode(value)
	if err != nil {
		return rates.Record{}, err
	}
	switch v := v.(type) {
	case rates.Record:
		return v, nil
	case gokakit.Bad:
		return rates.Record{}, v.Err
	}
	return rates.Record{}, fmt.Errorf("a %T is no record of the table", v)
}

// Keep forgets the interfaces of all other partitions: somebody else works on
// them now, and whoever gets them back begins with what the table says. It must
// be called while no record is being processed.
func (s *Stream) Keep(partitions map[int32]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.states, func(_ string, e *entry) bool { return !partitions[e.partition] })
}

// age marks an interface that has fallen silent, and deletes it in the end.
func (s *Stream) age(ctx goka.Context, _ any) {
	if ctx.Value() == nil {
		return
	}
	e, ok := s.entry(ctx)
	now := s.Now()
	if e.seen.IsZero() {
		e.seen = now // just taken over: its probe may be about to write
	}
	switch silent := now.Sub(e.seen); {
	case !ok: // not a record of ours
		s.remove(ctx)
	case silent >= schemas.DeleteAfter:
		s.remove(ctx)
		s.stats.Deleted.Add(1)
	case silent >= schemas.StaleAfter && !e.state.Record().Stale:
		e.state.Record().Stale = true
		if err := e.write(ctx); err != nil {
			s.bad(ctx, err)
		}
	}
}

// remove takes an interface out of the table and of the memory.
func (s *Stream) remove(ctx goka.Context) {
	ctx.Delete()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.states, ctx.Key())
}

// Visitor is what drives age.
type Visitor interface {
	Visit(ctx context.Context, name string, meta any) error
}

// Tick looks through the table until ctx ends.
func (s *Stream) Tick(ctx context.Context, v Visitor) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(tick):
		}
		if err := v.Visit(ctx, visitor, nil); err != nil && ctx.Err() == nil {
			s.Log.Warn("looking through the table", "error", err)
		}
	}
}
