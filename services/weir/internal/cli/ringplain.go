package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

// windowLine is one line of ring --plain: what one source sent in one window.
type windowLine struct {
	Time      time.Time `json:"time"` // the window's end, by the probe's clock
	Host      string    `json:"host"`
	Interface string    `json:"interface"`
	Source    string    `json:"source"` // "others": all sources without a line
	Packets   uint64    `json:"packets"`
	Dropped   uint64    `json:"dropped"` // of Packets
	Class     string    `json:"class"`   // of most packets
}

// others is the source of the line for what has no line of its own.
const others = "others"

const plainFormat = "%-12s  %-20s  %-14s  %-39s  %9s  %9s  %s\n"

// plain prints the counts topic as it grows.
func (a *app) plain(ctx context.Context, c *broker.Client, f ringFlags) error {
	if !a.json() {
		if _, err := fmt.Fprintf(a.Out, plainFormat, "TIME", "HOST", "INTERFACE", "SOURCE", "PACKETS", "DROPPED", "CLASS"); err != nil {
			return err
		}
	}
	if f.once {
		return a.plainOnce(ctx, c, f)
	}
	since := broker.Since(time.Now())
	if newest, err := c.Newest(ctx, c.Topics.Counts); err == nil && !newest.IsZero() {
		since = broker.Since(newest)
	}
	var failed error
	err := c.Follow(ctx, c.Topics.Counts, since, func(r *kgo.Record) bool {
		for _, l := range linesOf(r.Value, f.sources) {
			if failed = a.printLine(l); failed != nil {
				return false
			}
		}
		return true
	}, nil)
	if ctx.Err() != nil {
		return nil // Ctrl-C is how it ends
	}
	return cmp.Or(failed, err)
}

// plainOnce prints the last window of each interface.
func (a *app) plainOnce(ctx context.Context, c *broker.Client, f ringFlags) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	since, err := a.recent(ctx, c, c.Topics.Counts)
	if err != nil {
		return err
	}
	last := make(map[string][]windowLine)
	err = c.Follow(ctx, c.Topics.Counts, since, func(r *kgo.Record) bool {
		if lines := linesOf(r.Value, f.sources); len(lines) > 0 {
			last[string(r.Key)] = lines
		}
		return true
	}, func() bool { return false })
	if err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(last)) {
		for _, l := range last[key] {
			if err := a.printLine(l); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *app) printLine(l windowLine) error {
	if a.json() {
		return json.NewEncoder(a.Out).Encode(l)
	}
	_, err := fmt.Fprintf(a.Out, plainFormat, l.Time.Local().Format("15:04:05.000"), schemas.Printable(l.Host, 64), schemas.Printable(l.Interface, 32),
		l.Source, fmt.Sprint(l.Packets), fmt.Sprint(l.Dropped), l.Class)
	return err
}

// linesOf returns the lines of a window: of its first chunk, which holds the
// heaviest sources and the totals. It has none for what cannot be read, for other
// chunks, and for a window without packets.
func linesOf(value []byte, n int) []windowLine {
	r, err := counts.Decode(value)
	if err != nil || r.Totals == nil {
		return nil
	}
	sources := slices.Clone(r.Sources)
	slices.SortStableFunc(sources, func(a, b counts.Source) int { return cmp.Compare(b.Packets, a.Packets) })
	sources = sources[:min(n, len(sources))]
	rest := r.Totals.Counters
	line := func(name string, c counts.Counters) windowLine {
		return windowLine{Time: r.WindowEnd, Host: r.Host, Interface: r.Interface, Source: name, Packets: c.Packets, Dropped: c.Dropped, Class: heaviestClass(c)}
	}
	var out []windowLine
	for _, s := range sources {
		out = append(out, line(s.Address.String(), s.Counters))
		rest.Packets -= min(rest.Packets, s.Packets)
		rest.Dropped -= min(rest.Dropped, s.Dropped)
		for c := range rest.ByClass {
			rest.ByClass[c] -= min(rest.ByClass[c], s.ByClass[c])
		}
	}
	if rest.Packets > 0 {
		out = append(out, line(others, rest))
	}
	return out
}

func heaviestClass(c counts.Counters) string {
	best := 0
	for class, packets := range c.ByClass {
		if packets > c.ByClass[best] {
			best = class
		}
	}
	if c.ByClass[best] == 0 {
		return "-"
	}
	return schemas.ClassNames[best]
}
