package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

// topFlags are those of top.
type topFlags struct {
	once, follow bool
	sources      int
	interval     time.Duration
}

func (a *app) topCommand() *cobra.Command {
	var f topFlags
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Show the rates of every interface and the heaviest sources, live on a terminal",
		Long: "Show the rates of every interface and the heaviest sources. On a terminal the table is\n" +
			"live until Ctrl-C; else, or with --once, it is printed once. -o json prints the latest\n" +
			"record of each interface as one array, with --follow each record as a line.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.top(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.once, "once", false, "print once")
	cmd.Flags().BoolVar(&f.follow, "follow", false, "with -o json: print each record as it comes")
	cmd.Flags().IntVar(&f.sources, "sources", 15, "how many sources to show")
	cmd.Flags().DurationVar(&f.interval, "interval", time.Second, "how often to redraw")
	return cmd
}

// board is the latest record of each interface.
type board struct {
	mu      sync.Mutex
	records map[string]seenRates
}

// seenRates is a rates record, its JSON and the local time it was read.
type seenRates struct {
	rates.Record
	raw json.RawMessage
	at  time.Time // the broker's timestamp
}

// observe keeps a record, unless it does not decode.
func (b *board) observe(r *kgo.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.Value == nil {
		delete(b.records, string(r.Key))
		return
	}
	if record, err := rates.Decode(r.Value); err == nil {
		b.records[string(r.Key)] = seenRates{Record: record, raw: bytes.Clone(r.Value), at: r.Timestamp}
	}
}

// list returns the records by interface key.
func (b *board) list() []seenRates {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]seenRates, 0, len(b.records))
	for _, key := range slices.Sorted(maps.Keys(b.records)) {
		out = append(out, b.records[key])
	}
	return out
}

func (a *app) top(ctx context.Context, f topFlags) error {
	if f.interval < 100*time.Millisecond || f.sources < 0 {
		return usage(fmt.Errorf("--interval %v --sources %d: want at least 100ms and 0", f.interval, f.sources))
	}
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	asking, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	newest, err := c.Newest(asking, c.Topics.Rates)
	if err != nil {
		return err
	}
	since := broker.FromStart()
	if !newest.IsZero() {
		since = broker.Since(newest.Add(-schemas.StaleAfter))
	}
	b := &board{records: make(map[string]seenRates)}
	switch {
	case a.json() && f.follow:
		return c.Follow(ctx, c.Topics.Rates, since, func(r *kgo.Record) bool {
			if _, err := rates.Decode(r.Value); err != nil {
				return true
			}
			_, err := fmt.Fprintf(a.Out, "%s\n", r.Value)
			return err == nil
		}, nil)
	case a.Height() > 0 && !a.json() && !f.once:
		return a.live(ctx, c, since, b, f)
	}
	err = c.Follow(asking, c.Topics.Rates, since, func(r *kgo.Record) bool {
		b.observe(r)
		return true
	}, func() bool { return false })
	if err != nil {
		return err
	}
	if a.json() {
		raw := []json.RawMessage{}
		for _, r := range b.list() {
			raw = append(raw, r.raw)
		}
		return a.printJSON(raw)
	}
	_, err = a.Out.Write(drawTop(b.list(), f.sources, 0))
	return err
}

// live redraws until ctx ends.
func (a *app) live(ctx context.Context, c *broker.Client, since broker.Start, b *board, f topFlags) error {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		failed <- c.Follow(following, c.Topics.Rates, since, func(r *kgo.Record) bool {
			b.observe(r)
			return true
		}, nil)
	}()
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	// An own screen without a cursor, given back at the end.
	fmt.Fprint(a.Out, "\x1b[?1049h\x1b[?25l")
	defer fmt.Fprint(a.Out, "\x1b[?25h\x1b[?1049l")
	for {
		// Home, each line cleared to its end, then what is left below: without
		// the flicker of clearing the screen first. No newline at the very end,
		// or the screen would scroll.
		screen := bytes.TrimSuffix(drawTop(b.list(), f.sources, a.Height()), []byte("\n"))
		screen = bytes.ReplaceAll(screen, []byte("\n"), []byte("\x1b[K\n"))
		if _, err := fmt.Fprintf(a.Out, "\x1b[H%s\x1b[K\x1b[J", screen); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil || errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		case <-tick.C:
		}
	}
}
