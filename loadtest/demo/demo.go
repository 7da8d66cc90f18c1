// Package demo floods a lab in three ways while ordinary clients go on, and
// shows live, and then in a table, that Weir stops each flood and that the
// clients do not notice.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/crew"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
)

// DefaultID is the demo's lab.
const DefaultID = "demo"

// Config says how the demo runs.
type Config struct {
	ID       string // of the lab
	Bin      string
	Brokers  string // empty: an embedded broker
	Keep     bool   // leave everything running
	Out      io.Writer
	Terminal bool // Out redraws lines

	Warmup, Attack, After time.Duration // 0: 6 s, 7 s, 5 s
}

// ErrNotMitigated says that an attack was not stopped or that clients suffered.
var ErrNotMitigated = errors.New("not as it should be")

// Run runs the demo.
func Run(ctx context.Context, c Config) error {
	if c.Warmup == 0 {
		c.Warmup, c.Attack, c.After = 6*time.Second, 7*time.Second, 5*time.Second
	}
	d := &demo{Config: c, began: time.Now()}
	err := d.run(ctx)
	if d.s == nil {
		return err
	}
	if c.Keep && ctx.Err() == nil {
		if leaveErr := d.s.Leave(); leaveErr != nil {
			return errors.Join(err, leaveErr)
		}
		d.explainKept()
		return err
	}
	d.say("%s cleaning up", d.clock())
	return errors.Join(err, d.s.Close())
}

type demo struct {
	Config
	began    time.Time
	s        *scenario.Scenario
	clients  *crew.Clients
	outcomes []scenario.Outcome
	spans    []span
}

// span is a part of the run over which the clients are judged.
type span struct {
	name     string
	from, to time.Duration // boot time
}

func (d *demo) run(ctx context.Context) (err error) {
	d.say("%s starting broker, probe, aggregator, policy and ring in a lab of namespaces", d.clock())
	d.s, err = scenario.Setup(ctx, scenario.Options{ID: d.ID, Bin: d.Bin, Brokers: d.Brokers, Keep: d.Keep, Services: stack.All()})
	if err != nil {
		return err
	}
	d.say("%s watch it at %s", d.clock(), d.s.Stack.PageURL())
	if err := d.s.Enforce(ctx); err != nil {
		return err
	}
	if d.clients, err = d.s.Ordinary(80); err != nil {
		return err
	}
	if err := d.quietPhase(ctx, "ordinary clients only", "before", d.Warmup); err != nil {
		return err
	}
	for _, a := range []scenario.Attack{scenario.HTTP(0, 80), scenario.UDP(0), scenario.SYN(0, 80)} {
		if err := d.attack(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
	}
	if err := d.quietPhase(ctx, "ordinary clients, leases still in force", "after", d.After); err != nil {
		return err
	}
	if err := d.clients.Stop(); err != nil {
		return err
	}
	if err := d.s.Quiet(ctx); err != nil {
		return err
	}
	if err := d.s.Stack.Alive(); err != nil {
		return err
	}
	return d.report()
}

// quietPhase lets the clients go on undisturbed.
func (d *demo) quietPhase(ctx context.Context, title, name string, length time.Duration) error {
	// The first second of clients is start-up, not measurement.
	from, start := traffic.BootTime()+time.Second, time.Now()
	for time.Since(start) < length {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.progress(title, time.Since(start), length, "")
		time.Sleep(100 * time.Millisecond)
	}
	d.progress(title, length, length, "")
	d.endLine()
	d.spans = append(d.spans, span{name: name, from: from, to: traffic.BootTime()})
	return nil
}

func (d *demo) attack(ctx context.Context, a scenario.Attack) error {
	show := func(p scenario.Progress) {
		state := "not yet stopped"
		if p.TimeToMitigate > 0 {
			state = fmt.Sprintf("first drop after %d ms", p.TimeToMitigate.Milliseconds())
		}
		d.progress(a.Name, p.Elapsed, d.Attack, fmt.Sprintf("%s sent, %s dropped, %s", count(p.Sent), count(p.Dropped), state))
	}
	o, err := d.s.Run(ctx, a, d.Attack, show)
	if err != nil {
		return err
	}
	show(scenario.Progress{Elapsed: d.Attack, Sent: o.Sent, Dropped: o.Dropped, TimeToMitigate: o.TimeToMitigate()})
	d.endLine()
	d.outcomes = append(d.outcomes, o)
	d.spans = append(d.spans, span{name: "during " + a.Name, from: o.First, to: o.Last})
	return nil
}

func (d *demo) clock() string { return fmt.Sprintf("[%5.1f s]", time.Since(d.began).Seconds()) }

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// progress draws the line of the current phase; off a terminal only the last
// state of each is printed.
func (d *demo) progress(title string, elapsed, length time.Duration, detail string) {
	const width = 12
	done := min(width, int(float64(width)*elapsed.Seconds()/length.Seconds()+0.5))
	bar := strings.Repeat("█", done) + strings.Repeat("░", width-done)
	requests, failures := 0, 0
	if d.clients != nil {
		requests, failures = d.clients.Count()
	}
	if detail != "" {
		detail += "; "
	}
	line := fmt.Sprintf("%s %-12s %s  %sclients: %s requests, %d failed", d.clock(), title, bar, detail, count(uint64(requests)), failures)
	if d.Terminal {
		fmt.Fprintf(d.Out, "\r\x1b[K%s", line)
	} else if elapsed >= length {
		fmt.Fprint(d.Out, line)
	}
}

func (d *demo) endLine() { fmt.Fprintln(d.Out) }

func (d *demo) explainKept() {
	env := d.s.Stack.Environment()
	weir := d.Bin + "/weir"
	d.say(`
Everything is left running; the page is at %s. To look at it and to act:
  export %s
  %s status
  %s top
  %s ring
  %s list
  %s block 203.0.113.200 --ttl 1m --reason 'by hand'
  kcat -C -b "$WEIR_KAFKA_BROKERS" -t %s -o -1 -c 1
  %s/%s replay -lab %s -loop -1 -duration 20s FILE.pcap
  ip netns exec %s ip -s link
Logs are in %s. To take it down:
  %s/%s clean`, d.s.Stack.PageURL(), env, weir, weir, weir, weir, weir, d.s.Stack.Topics.Rates, d.Bin, crew.Program, d.ID,
		d.s.Lab.NamespaceName(lab.Victim), d.s.Stack.Dir, d.Bin, crew.Program)
	for _, service := range stack.All() {
		d.say("  %-16s http://%s/metrics", service, d.s.Stack.HealthAddress(service))
	}
}
