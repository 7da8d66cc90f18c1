package broker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
)

var begin = time.UnixMilli(1_767_323_045_000)

// filled is a client of a broker with two topics: one of three partitions whose
// records together are far more than what is read ahead, one of one.
func filled(t *testing.T) *Client {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "big"), kfake.SeedTopics(1, "small"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}
	c, err := Open(t.Context(), opts, schemas.NewTopics(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	producer, err := kgo.NewClient(append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer producer.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	put := func(topic string, partition int32, at time.Time, size int) {
		r := &kgo.Record{Topic: topic, Partition: partition, Timestamp: at, Key: []byte("k"), Value: make([]byte, size)}
		if err := producer.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for p := range int32(3) {
		at := begin
		for range 30 {
			// One partition is far ahead of the others: it has to wait.
			at = at.Add(time.Duration(1+rng.IntN(10*(1+4*int(p)))) * time.Millisecond)
			put("big", p, at, 500_000)
		}
	}
	for i := range 50 {
		put("small", 0, begin.Add(time.Duration(7*i)*time.Millisecond), 10)
	}
	return c
}

func spansOf(t *testing.T, c *Client, from, to time.Time) []Span {
	t.Helper()
	var out []Span
	for _, topic := range []string{"small", "big"} {
		start, err := c.Offsets(t.Context(), topic, from)
		if err != nil {
			t.Fatal(err)
		}
		end, err := c.Offsets(t.Context(), topic, to)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, Span{Topic: topic, From: start, To: end})
	}
	return out
}

func TestInOrder(t *testing.T) {
	c := filled(t)
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	read := func(from, to time.Time) (n int) {
		t.Helper()
		last, next := time.Time{}, map[string]int64{}
		err := c.InOrder(ctx, spansOf(t, c, from, to), func(r *kgo.Record) error {
			n++
			place := fmt.Sprintf("%s/%d", r.Topic, r.Partition)
			if was, ok := next[place]; r.Timestamp.Before(last) || ok && was != r.Offset {
				t.Fatalf("%s offset %d of %v comes after %v, want offset %d", place, r.Offset, r.Timestamp, last, was)
			}
			if r.Timestamp.Before(from) || !r.Timestamp.Before(to) {
				t.Fatalf("%v is not within %v and %v", r.Timestamp, from, to)
			}
			last, next[place] = r.Timestamp, r.Offset+1
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	later := begin.Add(time.Hour)
	if n := read(begin, later); n != 140 {
		t.Errorf("%d records, want all 140", n)
	}
	middle := begin.Add(100 * time.Millisecond)
	if a, b := read(begin, middle), read(middle, later); a == 0 || b == 0 || a+b != 140 {
		t.Errorf("%d and %d records, want 140 together", a, b)
	}
	if n := read(later, later.Add(time.Hour)); n != 0 {
		t.Errorf("%d records of a time without any", n)
	}
	enough := errors.New("enough")
	if err := c.InOrder(ctx, spansOf(t, c, begin, later), func(*kgo.Record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("the reader's error became %v", err)
	}
}

func TestReadAt(t *testing.T) {
	c := filled(t)
	r, err := c.ReadAt(t.Context(), "big", 2, 7)
	if err != nil || r.Partition != 2 || r.Offset != 7 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, offset := range []int64{-1, 30, 99} {
		if _, err := c.ReadAt(t.Context(), "big", 0, offset); !errors.Is(err, ErrGone) {
			t.Errorf("offset %d: %v", offset, err)
		}
	}
	if _, err := c.ReadAt(t.Context(), "none", 0, 0); !errors.Is(err, ErrNoTopic) {
		t.Errorf("no topic: %v", err)
	}
	if o, err := c.OffsetAt(t.Context(), "small", 0, begin.Add(8*time.Millisecond)); err != nil || o != 2 {
		t.Errorf("offset %d, %v, want 2", o, err)
	}
}
