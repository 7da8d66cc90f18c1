package replay

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// state is a reader that keeps the newest value of each key.
type state struct {
	mu      sync.Mutex
	begins  int
	values  map[string]string
	next    map[string]string // while replaying
	skipped int
	caught  bool
	at      int64
}

func (s *state) Begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begins++
	s.next, s.caught = map[string]string{}, false
}

func (s *state) Records(records []*kgo.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	into := s.values
	if s.next != nil {
		into = s.next
	}
	for _, r := range records {
		if len(r.Value) == 0 {
			delete(into, string(r.Key))
			continue
		}
		into[string(r.Key)] = string(r.Value)
	}
}

func (s *state) Skipped(int64, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skipped++
}

func (s *state) Position(next int64, caughtUp bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = next
	if caughtUp && s.next != nil {
		s.values, s.next, s.caught = s.next, nil, true
	}
}

func (s *state) is(f func(*state) bool) func() bool {
	return func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return f(s)
	}
}

func follow(t *testing.T, cfg *kafka.Config) *state {
	t.Helper()
	opts, err := cfg.Options("test")
	if err != nil {
		t.Fatal(err)
	}
	s := &state{values: map[string]string{}}
	l := New(cfg.Topics().Commands, opts, slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, s) }()
	t.Cleanup(func() { stop(); <-done })
	return s
}

func write(t *testing.T, client *kgo.Client, topic, key, value string) {
	t.Helper()
	var v []byte
	if value != "" {
		v = []byte(value)
	}
	if err := client.ProduceSync(context.Background(), kafka.Record(topic, schemas.SchemaCommands, []byte(key), v)).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func bothBrokers(t *testing.T, f func(t *testing.T, cfg *kafka.Config)) {
	t.Run("double", func(t *testing.T) { _, cfg := testkit.Double(t); f(t, cfg) })
	t.Run("kafka", func(t *testing.T) { f(t, testkit.Kafka(t)) })
}

func TestReplay(t *testing.T) {
	bothBrokers(t, func(t *testing.T, cfg *kafka.Config) {
		topic := cfg.Topics().Commands
		client := testkit.Client(t, cfg)

		// An empty topic has nothing to wait for.
		empty := follow(t, cfg)
		testkit.Eventually(t, 10*time.Second, "an empty topic is caught up with", empty.is(func(s *state) bool { return s.caught }))

		for i := range 100 {
			write(t, client, topic, fmt.Sprintf("k%d", i%10), fmt.Sprint(i))
		}
		write(t, client, topic, "k3", "")
		full := func(s *state) bool {
			return s.caught && len(s.values) == 9 && s.values["k9"] == "99" && s.values["k3"] == ""
		}
		testkit.Eventually(t, 10*time.Second, "records are followed", empty.is(full))
		s := follow(t, cfg)
		testkit.Eventually(t, 10*time.Second, "the log is replayed", s.is(full))
		begin := time.Now()
		write(t, client, topic, "late", "x")
		testkit.Eventually(t, 5*time.Second, "a new record arrives", s.is(func(s *state) bool { return s.values["late"] == "x" }))
		if d := time.Since(begin); d > 500*time.Millisecond {
			t.Errorf("a record took %v", d)
		}
	})
}

// TestTransactions: an aborted record is never seen, a marker at the end of the
// log does not keep the reader from catching up, and an open transaction does
// not block it.
func TestTransactions(t *testing.T) {
	bothBrokers(t, func(t *testing.T, cfg *kafka.Config) {
		topic := cfg.Topics().Commands
		client := testkit.Client(t, cfg)
		write(t, client, topic, "plain", "1")
		txn := testkit.Client(t, cfg, kgo.TransactionalID("txn"))
		end := func(commit kgo.TransactionEndTry, key string) {
			t.Helper()
			if err := txn.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			write(t, txn, topic, key, "1")
			if err := txn.EndTransaction(context.Background(), commit); err != nil {
				t.Fatal(err)
			}
		}
		end(kgo.TryCommit, "committed")
		end(kgo.TryAbort, "aborted") // its marker is the last offset of the log
		s := follow(t, cfg)
		testkit.Eventually(t, 10*time.Second, "the log ends in a marker, and is caught up with", s.is(func(s *state) bool { return s.caught }))
		s.mu.Lock()
		if s.values["plain"] != "1" || s.values["committed"] != "1" || s.values["aborted"] != "" {
			t.Errorf("values %v", s.values)
		}
		s.mu.Unlock()

		if err := txn.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		write(t, txn, topic, "open", "1")
		late := follow(t, cfg)
		testkit.Eventually(t, 10*time.Second, "an open transaction does not block", late.is(func(s *state) bool { return s.caught && s.values["open"] == "" }))
		if err := txn.EndTransaction(context.Background(), kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, 10*time.Second, "it is seen once it is committed", late.is(func(s *state) bool { return s.values["open"] == "1" }))
	})
}

// TestZipBomb: a batch that decompresses to more than we take is stepped over.
func TestZipBomb(t *testing.T) {
	bothBrokers(t, func(t *testing.T, cfg *kafka.Config) {
		topic := cfg.Topics().Commands
		client := testkit.Client(t, cfg)
		write(t, client, topic, "before", "1")
		bomb := testkit.Client(t, cfg, kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(64<<20), kgo.MaxBufferedBytes(64<<20))
		if err := bomb.ProduceSync(context.Background(), kafka.Record(topic, schemas.SchemaCommands, []byte("bomb"), make([]byte, 20<<20))).FirstErr(); err != nil {
			t.Skip("this broker takes no zip bomb: ", err)
		}
		write(t, client, topic, "after", "1")
		s := follow(t, cfg)
		testkit.Eventually(t, 20*time.Second, "the record behind the bomb is read", s.is(func(s *state) bool { return s.caught && s.values["after"] == "1" && s.values["before"] == "1" }))
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.skipped != 1 || s.values["bomb"] != "" {
			t.Errorf("skipped %d batches, the bomb has %d bytes", s.skipped, len(s.values["bomb"]))
		}
	})
}

// TestRecreatedTopic: a topic that is deleted and made again is replayed anew.
func TestRecreatedTopic(t *testing.T) {
	bothBrokers(t, func(t *testing.T, cfg *kafka.Config) {
		topic := cfg.Topics().Commands
		client := testkit.Client(t, cfg)
		for i := range 5 {
			write(t, client, topic, fmt.Sprintf("old%d", i), "1")
		}
		s := follow(t, cfg)
		testkit.Eventually(t, 10*time.Second, "the log is replayed", s.is(func(s *state) bool { return s.caught && len(s.values) == 5 }))
		if _, err := kadm.NewClient(client).DeleteTopic(context.Background(), topic); err != nil {
			t.Fatal(err)
		}
		testkit.Eventually(t, 10*time.Second, "the topic is gone", func() bool {
			l, err := kadm.NewClient(testkit.Client(t, cfg)).ListTopics(context.Background(), topic)
			return err == nil && l[topic].Err != nil
		})
		spec := schemas.Specs(cfg.Topics(), 0, 1)[2]
		testkit.Eventually(t, 20*time.Second, "the topic is made again", func() bool {
			_, err := kadm.NewClient(testkit.Client(t, cfg)).CreateTopic(context.Background(), spec.Partitions, 1, nil, topic)
			return err == nil
		})
		fresh := testkit.Client(t, cfg)
		write(t, fresh, topic, "new", "1")
		testkit.Eventually(t, 20*time.Second, "the new topic is what counts", s.is(func(s *state) bool {
			return s.caught && s.begins > 1 && len(s.values) == 1 && s.values["new"] == "1"
		}))
	})
}

func TestBrokerThatComesLate(t *testing.T) {
	c, cfg := testkit.Double(t)
	addr := c.ListenAddrs()
	c.Close()
	s := follow(t, &kafka.Config{Brokers: addr, TopicPrefix: cfg.TopicPrefix})
	time.Sleep(300 * time.Millisecond) // it has tried by then; nothing to poll for
	if s.is(func(s *state) bool { return s.caught })() {
		t.Error("caught up without a broker")
	}
}
