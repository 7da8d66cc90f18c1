package watch_test

import (
	"context"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/broker"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas"
)

// TestReadingOutlivesConnecting: the limit on connecting must not end a reader
// in the middle of a long test, with nothing said.
func TestReadingOutlivesConnecting(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Config{Listen: "127.0.0.1:0", Topics: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	topic := schemas.NewTopics("").Events
	seen := make(chan watch.Record, 10)
	ctx, stop := context.WithCancel(t.Context())
	r, err := watch.Read(ctx, b.Address(), map[string]func(watch.Record){topic: func(k watch.Record) { seen <- k }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	stop()
	p, err := watch.NewProducer(b.Address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if _, _, err := p.Put(t.Context(), topic, schemas.SchemaEvents, []byte("k"), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen:
	case <-time.After(10 * time.Second):
		t.Error("nothing is read after the context has ended")
	}
}
