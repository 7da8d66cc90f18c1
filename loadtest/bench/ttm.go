// Package bench measures the time to mitigate, over and over, and where it
// goes.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-net/weir/loadtest/demo"
	"github.com/weir-net/weir/loadtest/scenario"
)

// Config says what to measure.
type Config struct {
	ID, Bin, Brokers string
	Rounds           int
	Attack           time.Duration // length of each
	P50, P99         time.Duration // goals
	Out              io.Writer
}

// ErrTooSlow says that a goal was missed.
var ErrTooSlow = errors.New("a goal was missed")

// basePort is the web server's first port: each round of the SYN flood has a
// port of its own, since the signature of the one before still holds.
const basePort = 8000

// TimeToMitigate measures and prints.
func TimeToMitigate(ctx context.Context, c Config) (err error) {
	ports := make([]uint16, c.Rounds)
	for i := range ports {
		ports[i] = basePort + uint16(i)
	}
	s, err := scenario.Setup(ctx, scenario.Options{ID: c.ID, Bin: c.Bin, Brokers: c.Brokers, Ports: append(ports, 80)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.Enforce(ctx); err != nil {
		return err
	}
	outcomes := make(map[string][]scenario.Outcome)
	for round := range c.Rounds {
		for _, a := range []scenario.Attack{scenario.HTTP(round, 80), scenario.UDP(round), scenario.SYN(round, ports[round])} {
			// A random phase against the probe's windows.
			if err := sleep(ctx, rand.N(250*time.Millisecond)); err != nil {
				return err
			}
			o, err := s.Run(ctx, a, c.Attack, func(scenario.Progress) {})
			if err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, a.Name, err)
			}
			outcomes[a.Name] = append(outcomes[a.Name], o)
			fmt.Fprintf(c.Out, "round %2d  %-10s  %4d ms  passed %d of %d, %d source leases, %d signatures\n",
				round+1, a.Name, o.TimeToMitigate().Milliseconds(), o.Passed(), o.Sent, o.PerSource, o.Signatures)
		}
	}
	return c.print(outcomes)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (c Config) print(outcomes map[string][]scenario.Outcome) error {
	names := scenario.Stages{}.Names()
	w := tabwriter.NewWriter(c.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\nattack\truns\tp50\tp99\tworst\t%s\t\n", strings.Join(names, "\t"))
	missed := 0
	for _, attack := range []string{"HTTP flood", "UDP flood", "SYN flood"} {
		var times []time.Duration
		stages := make([][]time.Duration, len(names))
		for _, o := range outcomes[attack] {
			if !o.Mitigated() {
				missed++
				fmt.Fprintf(c.Out, "MISSED: %s was not stopped\n", attack)
				continue
			}
			times = append(times, o.TimeToMitigate())
			for i, v := range o.Stages.Values() {
				stages[i] = append(stages[i], v)
			}
		}
		p50, p99 := demo.Quantile(times, 0.5), demo.Quantile(times, 0.99)
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s", attack, len(times), ms(p50), ms(p99), ms(demo.Quantile(times, 1)))
		for _, values := range stages {
			fmt.Fprintf(w, "\t%s / %s", ms(demo.Quantile(values, 0.5)), ms(demo.Quantile(values, 0.99)))
		}
		fmt.Fprint(w, "\t\n")
		if p50 > c.P50 || p99 > c.P99 {
			missed++
			fmt.Fprintf(c.Out, "MISSED: %s: p50 %s (goal %s), p99 %s (goal %s)\n", attack, ms(p50), ms(c.P50), ms(p99), ms(c.P99))
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	fmt.Fprintln(c.Out, "stages: p50 / p99, in ms; window wait includes the time until the attack crosses a threshold")
	if missed > 0 {
		return fmt.Errorf("%w: %d", ErrTooSlow, missed)
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.0f", float64(d.Microseconds())/1000) }
