package run

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
)

func TestComponentsStopInReverse(t *testing.T) {
	var mu sync.Mutex
	var stopped []string
	component := func(name string) Component {
		return Component{name, func(ctx context.Context) error {
			<-ctx.Done()
			mu.Lock()
			defer mu.Unlock()
			stopped = append(stopped, name)
			return ctx.Err()
		}}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Components(ctx, slog.New(slog.DiscardHandler), []Component{component("a"), component("b"), component("c")}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(stopped, []string{"c", "b", "a"}) {
		t.Errorf("stopped in the order %v", stopped)
	}
}

func TestFirstErrorEndsTheRest(t *testing.T) {
	boom := errors.New("boom")
	ended := false
	err := Components(context.Background(), slog.New(slog.DiscardHandler), []Component{
		{"waits", func(ctx context.Context) error { <-ctx.Done(); ended = true; return nil }},
		{"fails", func(context.Context) error { return boom }},
	})
	if !errors.Is(err, boom) || !ended {
		t.Errorf("error %v, the other ended: %v", err, ended)
	}
}
