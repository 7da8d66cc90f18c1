package gokakit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// TestConfigOrder: a read time-out below the rebalance's ends Run in the middle
// of one, and goka's defaults lose data.
func TestConfigOrder(t *testing.T) {
	c, err := saramaConfig(&kafka.Config{Brokers: []string{"127.0.0.1:1"}}, "client", "instance")
	if err != nil {
		t.Fatal(err)
	}
	g := &c.Consumer.Group
	if g.Heartbeat.Interval >= g.Session.Timeout || g.Session.Timeout >= g.Rebalance.Timeout || g.Rebalance.Timeout >= c.Net.ReadTimeout {
		t.Errorf("heartbeat %v < session %v < rebalance %v < read %v does not hold", g.Heartbeat.Interval, g.Session.Timeout, g.Rebalance.Timeout, c.Net.ReadTimeout)
	}
	for what, ok := range map[string]bool{
		"reads from the oldest":      c.Consumer.Offsets.Initial == sarama.OffsetOldest,
		"waits for all replicas":     c.Producer.RequiredAcks == sarama.WaitForAll,
		"is idempotent":              c.Producer.Idempotent && c.Net.MaxOpenRequests == 1,
		"outlasts 10 min of retries": time.Duration(c.Producer.Retry.Max)*c.Producer.Retry.Backoff > 10*time.Minute,
		"retries fit in memory":      c.Producer.Retry.Max < 1<<20, // sarama allocates by it
		"flushes within 5 ms":        c.Producer.Flush.Frequency <= 5*time.Millisecond,
		"is a static member":         g.InstanceId == "instance",
		"asks for no API versions":   !c.ApiVersionsRequest,
		"is patient with a broker":   patience > c.Producer.Timeout && patience > c.Consumer.MaxWaitTime && patience < g.Session.Timeout,
		"has our dialer":             c.Net.Proxy.Enable && c.Net.Proxy.Dialer != nil,
	} {
		if !ok {
			t.Errorf("the configuration does not hold: %s", what)
		}
	}
}

// TestPartitionRule: goka's hasher, given ours, chooses the partitions that
// Java's client chooses.
func TestPartitionRule(t *testing.T) {
	vectors, err := schemas.PartitionVectors()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vectors {
		h := schemas.NewHash32()
		if _, err := h.Write([]byte(v.Key)); err != nil {
			t.Fatal(err)
		}
		if got, want := int32(h.Sum32())%schemas.DefaultPartitions, schemas.Partition([]byte(v.Key), schemas.DefaultPartitions); got != want {
			t.Fatalf("key %q: goka would choose %d, want %d", v.Key, got, want)
		}
	}
	if len(vectors) < 1000 {
		t.Errorf("only %d vectors", len(vectors))
	}
}

// TestCodecNeverFails: an error or a panic would end the processor for ever.
func TestCodecNeverFails(t *testing.T) {
	boom := errors.New("boom")
	for name, decode := range map[string]func([]byte) (int, error){
		"error": func([]byte) (int, error) { return 0, boom },
		"panic": func(b []byte) (int, error) { return int(b[99]), nil },
	} {
		v, err := Codec[int]{DecodeFunc: decode}.Decode([]byte("x"))
		if bad, ok := v.(Bad); err != nil || !ok || bad.Err == nil || bad.Size != 1 {
			t.Errorf("%s: %#v, %v", name, v, err)
		}
	}
	v, err := Codec[int]{DecodeFunc: func(b []byte) (int, error) { return len(b), nil }}.Decode([]byte("abc"))
	if v != 3 || err != nil {
		t.Errorf("a good value: %v, %v", v, err)
	}
	if _, err := (Codec[int]{}).Encode("text"); err == nil {
		t.Error("a value of another type was encoded")
	}
}

// sleepyGroup counts how often it is asked to consume; each session ends at once,
// as after a rebalance.
type sleepyGroup struct {
	sarama.ConsumerGroup
	calls int
	stop  context.CancelFunc
	err   error
}

func (g *sleepyGroup) Consume(context.Context, []string, sarama.ConsumerGroupHandler) error {
	if g.calls++; g.calls == 5 {
		g.stop()
		return g.err
	}
	return nil
}

// TestGroupJoinsAgainAtOnce: goka sleeps 5 s whenever Consume returns, so it
// must not return between sessions.
func TestGroupJoinsAgainAtOnce(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	g := &sleepyGroup{stop: stop}
	if err := (loopingGroup{g}).Consume(ctx, nil, nil); err != nil || g.calls != 5 {
		t.Errorf("%d sessions, error %v; want 5 and none", g.calls, err)
	}
	boom := errors.New("boom")
	g = &sleepyGroup{stop: func() {}, err: boom}
	if err := (loopingGroup{g}).Consume(context.Background(), nil, nil); !errors.Is(err, boom) {
		t.Errorf("an error of the group: %v", err)
	}
}

func TestMapStore(t *testing.T) {
	s, err := newMapStore("topic", 0)
	if err != nil {
		t.Fatal(err)
	}
	if off, err := s.GetOffset(-2); off != -2 || err != nil {
		t.Errorf("offset of an empty store: %d, %v", off, err)
	}
	for i := range 100 {
		if err := s.Set(fmt.Sprintf("k%02d", i), []byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.SetOffset(7), s.Delete("k50")); err != nil {
		t.Fatal(err)
	}
	if off, _ := s.GetOffset(-2); off != 7 {
		t.Errorf("offset %d, want 7", off)
	}
	if v, err := s.Get("k50"); v != nil || err != nil {
		t.Errorf("a deleted key: %v, %v", v, err)
	}
	if has, _ := s.Has("k49"); !has {
		t.Error("a key is missing")
	}
	it, err := s.IteratorWithRange([]byte("k10"), []byte("k13"))
	if err != nil {
		t.Fatal(err)
	}
	defer it.Release()
	var keys []string
	for it.Next() {
		v, err := it.Value()
		if err != nil || len(v) != 1 {
			t.Errorf("value %v, %v", v, err)
		}
		keys = append(keys, string(it.Key()))
	}
	if !slices.Equal(keys, []string{"k10", "k11", "k12"}) {
		t.Errorf("keys %v", keys)
	}
	if !it.Seek([]byte("k11")) || !it.Next() || string(it.Key()) != "k11" {
		t.Error("seek did not find its key")
	}
}

// TestMapStoreIsLinear: goka's own memory store takes minutes for this many keys.
func TestMapStoreIsLinear(t *testing.T) {
	s, err := newMapStore("topic", 0)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for i := range 100_000 {
		if err := s.Set(fmt.Sprintf("host-%d/eth0", i), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("100,000 keys took %v", took)
	}
}

// TestSupervisorHearsItsContext: without a broker goka's constructor blocks for
// ever; ours is asked for nothing before a broker answers.
func TestSupervisorHearsItsContext(t *testing.T) {
	cfg := &kafka.Config{Brokers: []string{"127.0.0.1:1"}}
	opts, err := cfg.Options("test")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s := NewSupervisor(Options{Kafka: cfg, Client: client, Graph: goka.DefineGroup("g"), Table: "g", Log: slog.New(slog.DiscardHandler)})
	if s.Ready() == nil {
		t.Error("ready without a broker")
	}
	ctx, stop := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("stopped with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the supervisor does not hear its context")
	}
}
