package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/services/weir/internal/broker"
	"github.com/weir-net/weir/services/weir/internal/history"
)

// roundEvery is how often a recording looks for more.
const roundEvery = 500 * time.Millisecond

// recorded is what record says when it is done.
type recorded struct {
	File     string    `json:"file"`
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Counts   uint64    `json:"counts"`   // records
	Commands uint64    `json:"commands"` // records, those before From included
	Events   uint64    `json:"events"`   // records
	Bytes    int64     `json:"bytes"`
}

func (a *app) recordCommand() *cobra.Command {
	var out, from string
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "record --out FILE",
		Short: "Write counts, commands and events to a file, for weir backtest",
		Long: "Write the raw counts, commands and events to a file: from now on, or from --from as far as\n" +
			"the topic still has it, for --duration or until Ctrl-C. The file is compressed and can be\n" +
			"read up to where it was cut off. It holds addresses of whoever sent packets.",
		Example: "  weir record --out monday.weir --duration 10m\n  weir record --out hour.weir --from 1h --duration 1h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			now := time.Now()
			start, err := parseWhen(from, now)
			if err != nil {
				return usage(fmt.Errorf("--from %w", err))
			}
			if out == "" || duration <= 0 {
				return usage(errors.New("want --out FILE and a --duration above 0"))
			}
			return a.record(cmd.Context(), out, start, start.Add(duration))
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write; it must not exist")
	cmd.Flags().StringVar(&from, "from", "0s", "begin at this moment, or as long ago")
	cmd.Flags().DurationVar(&duration, "duration", 10*time.Minute, "how much to record")
	return cmd
}

func (a *app) record(ctx context.Context, name string, from, to time.Time) (err error) {
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("creating the file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w, err := history.NewWriter(f, history.Info{CreatedAt: time.Now().UTC(), From: from.UTC(), Version: a.Version, Counts: c.Topics.Counts,
		Commands: c.Topics.Commands, Events: c.Topics.Events})
	if err != nil {
		return err
	}
	out := recorded{File: name, From: from.UTC()}
	err = a.recordTo(ctx, c, w, &out, from, to)
	if errors.Is(err, context.Canceled) {
		err = nil // Ctrl-C: that was all
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	if info, err := f.Stat(); err == nil {
		out.Bytes = info.Size()
	}
	if a.json() {
		return a.printJSON(out)
	}
	_, err = fmt.Fprintf(a.Out, "%d records of counts, %d of commands and %d of events, %sB, in %s\n", out.Counts, out.Commands, out.Events, count(float64(out.Bytes)), name)
	return err
}

// recordTo writes what the topics hold, round by round, until to.
func (a *app) recordTo(ctx context.Context, c *broker.Client, w *history.Writer, out *recorded, from, to time.Time) error {
	write := func(r *kgo.Record) error {
		if r.Timestamp.After(to) {
			return nil
		}
		kind := kindOf(c, r)
		switch kind {
		case history.Counts:
			out.Counts++
		case history.Commands:
			out.Commands++
		case history.Events:
			out.Events++
		}
		if r.Timestamp.After(out.To) {
			out.To = r.Timestamp.UTC()
		}
		x := history.FromKafka(kind, r)
		return w.Write(&x)
	}
	spans, err := a.historySpans(ctx, c, from, time.Now())
	if err != nil {
		return err
	}
	if err := c.InOrder(ctx, spans.before, write); err != nil {
		return err
	}
	for {
		last := !time.Now().Before(to)
		if err := c.InOrder(ctx, spans.within, write); err != nil {
			return err
		}
		if err := w.Flush(); err != nil {
			return err
		}
		if last {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(roundEvery, time.Until(to))):
		}
		if err := a.nextSpans(ctx, c, spans); err != nil {
			return err
		}
	}
}

// kindOf says what a record of one of the topics is.
func kindOf(c *broker.Client, r *kgo.Record) history.Kind {
	switch r.Topic {
	case c.Topics.Commands:
		return history.Commands
	case c.Topics.Events:
		return history.Events
	}
	return history.Counts
}

// spansOf is a history on the topics: the commands before its beginning, and all
// topics from there on.
type spansOf struct{ before, within []broker.Span }

// historySpans finds what the topics hold of a time, up to now or to.
func (a *app) historySpans(ctx context.Context, c *broker.Client, from, to time.Time) (*spansOf, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	out := &spansOf{}
	for _, topic := range []string{c.Topics.Commands, c.Topics.Events, c.Topics.Counts} {
		start, err := c.Offsets(ctx, topic, from)
		if err != nil {
			return nil, err
		}
		end, err := c.Offsets(ctx, topic, to)
		if err != nil {
			return nil, err
		}
		if topic == c.Topics.Commands {
			out.before = []broker.Span{{Topic: topic, From: map[int32]int64{}, To: start}}
		}
		out.within = append(out.within, broker.Span{Topic: topic, From: start, To: end})
	}
	return out, nil
}

// nextSpans moves spans on to what has come since.
func (a *app) nextSpans(ctx context.Context, c *broker.Client, spans *spansOf) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for i := range spans.within {
		s := &spans.within[i]
		ends, err := c.Ends(ctx, s.Topic)
		if err != nil {
			return err
		}
		s.From, s.To = s.To, ends
	}
	return nil
}
