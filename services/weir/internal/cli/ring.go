package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/weir/internal/broker"
	"github.com/weir-net/weir/services/weir/internal/tree"
)

// ringFlags are those of ring.
type ringFlags struct {
	plain, once, safe bool
	sources           int
	scale             string
	interval          time.Duration
}

func (a *app) ringCommand() *cobra.Command {
	var f ringFlags
	cmd := &cobra.Command{
		Use:   "ring",
		Short: "Show the fleet as a tree of servers, interfaces and sources, live, in the page's colours",
		Long: "Show the fleet as a tree of servers, interfaces and their heaviest sources, in the\n" +
			"colours of the page that weir-ring serves: grey, three greens, red, by received\n" +
			"packets per second; what was dropped is hatched. On a terminal the tree is live; else,\n" +
			"or with --once, it is printed once.\n\n" +
			"--plain prints a line for each source of each window as it comes, the heaviest first,\n" +
			"and one for all others together, until Ctrl-C. -o json does so with objects.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.ring(cmd.Context(), f) },
	}
	cmd.Flags().BoolVar(&f.plain, "plain", false, "print a line per window and source instead")
	cmd.Flags().BoolVar(&f.once, "once", false, "print once; with --plain the last window of each interface")
	cmd.Flags().IntVar(&f.sources, "sources", 8, "how many sources to show per interface")
	cmd.Flags().StringVar(&f.scale, "scale", "700,1400,2100", "upper bounds of the three colours below red, in packets/s")
	cmd.Flags().BoolVar(&f.safe, "colour-blind", false, "colours that differ in lightness too")
	cmd.Flags().DurationVar(&f.interval, "interval", 250*time.Millisecond, "how often to redraw")
	return cmd
}

func (a *app) ring(ctx context.Context, f ringFlags) error {
	scale, err := parseScale(f.scale)
	if err != nil {
		return usage(err)
	}
	scale.Safe = f.safe
	if f.interval < 50*time.Millisecond || f.sources < 0 {
		return usage(fmt.Errorf("--interval %v --sources %d: want at least 50ms and 0", f.interval, f.sources))
	}
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if f.plain || a.json() {
		return a.plain(ctx, c, f)
	}
	p := tree.NewPicture()
	if f.once || a.Height() == 0 {
		return a.ringOnce(ctx, c, p, f, scale)
	}
	return a.ringLive(ctx, c, p, f, scale)
}

func parseScale(text string) (tree.Scale, error) {
	var s tree.Scale
	parts := strings.Split(text, ",")
	if len(parts) != len(s.Bounds) {
		return s, fmt.Errorf("--scale %s: want three rising numbers", text)
	}
	last := 0.0
	for i, part := range parts {
		v, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || !(v > last) {
			return s, fmt.Errorf("--scale %s: want three rising numbers", text)
		}
		s.Bounds[i], last = v, v
	}
	return s, nil
}

// recent returns from when on the rates topic is worth reading.
func (a *app) recent(ctx context.Context, c *broker.Client, topic string) (broker.Start, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	newest, err := c.Newest(ctx, topic)
	if err != nil || newest.IsZero() {
		return broker.FromStart(), err
	}
	return broker.Since(newest.Add(-schemas.StaleAfter)), nil
}

// ringWidth is how wide a tree is that is printed and not shown.
const ringWidth = 120

func (a *app) ringOnce(ctx context.Context, c *broker.Client, p *tree.Picture, f ringFlags, scale tree.Scale) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	since, err := a.recent(ctx, c, c.Topics.Rates)
	if err != nil {
		return err
	}
	enough := func() bool { return false }
	if err := c.Follow(ctx, c.Topics.Status, broker.FromStart(), taking(p.Status), enough); err != nil {
		return err
	}
	if err := c.Follow(ctx, c.Topics.Rates, since, taking(p.Rates), enough); err != nil {
		return err
	}
	sum, rows := p.Rows(time.Now(), tree.View{Sources: f.sources})
	// Colours as far as the output knows them: none in a file.
	_, err = lipgloss.Fprintln(a.Out, tree.Draw(sum, rows, tree.Screen{Width: ringWidth, Cursor: -1, Scale: scale}))
	return err
}

func taking(take func(key string, value []byte, at time.Time)) func(*kgo.Record) bool {
	return func(r *kgo.Record) bool {
		take(string(r.Key), r.Value, r.Timestamp)
		return true
	}
}

// ringLive shows the tree until the person has seen enough, or a topic cannot be
// read. Brokers that are away for a while are no such trouble: the tree says so.
func (a *app) ringLive(ctx context.Context, c *broker.Client, p *tree.Picture, f ringFlags, scale tree.Scale) error {
	since, err := a.recent(ctx, c, c.Topics.Rates)
	if err != nil {
		return err
	}
	following, stop := context.WithCancel(ctx)
	failed := make(chan error, 2)
	var followers sync.WaitGroup
	defer followers.Wait()
	defer stop()
	followers.Go(func() {
		failed <- c.Follow(following, c.Topics.Status, broker.FromStart(), taking(p.Status), nil)
	})
	followers.Go(func() {
		failed <- c.Follow(following, c.Topics.Rates, since, taking(p.Rates), nil)
	})

	program := tea.NewProgram(tree.NewLive(p, time.Now, f.interval, tree.View{Sources: f.sources}, scale),
		tea.WithContext(ctx), tea.WithOutput(a.Out), tea.WithoutSignalHandler())
	shown := make(chan error, 1)
	go func() {
		_, err := program.Run()
		shown <- err
	}()
	var trouble error
	select {
	case err = <-shown:
	case trouble = <-failed:
		program.Quit()
		err = <-shown
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case trouble != nil:
		return trouble
	}
	return err
}
