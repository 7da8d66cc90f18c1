// Package eval holds Weir against labelled captures, through the real kernel
// and a broker: which attacks it finds, how soon, what they get through, and
// what ordinary traffic loses by it; and beside it what fixed thresholds do.
//
// Every run plays one capture into a fresh lab with a fresh probe, whose name
// no other run has, so that no lease and no rate of one run reaches another.
// All probes of one policy share a broker, an aggregator and a policy service,
// and several runs go on at once.
package eval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
)

// Config says what to evaluate.
type Config struct {
	Bin      string // directory of the binaries
	Captures string // directory with labels.json
	ID       string // beginning of the labs' names, at most seven characters
	Quick    bool   // fewer and shorter runs, Weir's rules alone
	Parallel int    // runs at once
	Only     string // the capture of this name alone; empty: all
	Progress io.Writer
	Out      io.Writer
}

// ErrMissed says that a target was missed.
var ErrMissed = errors.New("a target was missed")

// policy is one set of rules that is held against the captures.
type policy struct {
	name  string
	rules string // text of a rules file; empty: the embedded rules
	weir  bool   // judged, and played in full
	hub   *hub
}

func policies(quick bool) []*policy {
	out := []*policy{{name: "Weir", weir: true}}
	if quick {
		return out
	}
	for _, pps := range []int{100, 1000, 5000} {
		out = append(out, &policy{name: fmt.Sprintf("%d pps", pps), rules: thresholdRules(pps)})
	}
	return append(out, &policy{name: "no policy", rules: noRules})
}

// Run evaluates and prints.
func Run(ctx context.Context, c Config) error {
	items, err := readItems(c.Captures)
	if err != nil {
		return err
	}
	e := &evaluation{Config: c, start: time.Now(), policies: policies(c.Quick)}
	defer func() {
		for _, p := range e.policies {
			if p.hub != nil {
				err = errors.Join(err, p.hub.close())
			}
		}
	}()
	for i, p := range e.policies {
		if p.hub, err = startHub(ctx, fmt.Sprintf("%s%d", c.ID, i), c.Bin, p.rules); err != nil {
			return fmt.Errorf("starting the services of %s: %w", p.name, err)
		}
	}
	for _, it := range items {
		e.mtu = max(e.mtu, capture.LargestFrame(it.frames)-14)
	}
	jobs := e.plan(items)
	outcomes, err := e.play(ctx, jobs)
	if err != nil {
		return err
	}
	return e.print(outcomes)
}

type evaluation struct {
	Config
	start    time.Time
	policies []*policy
	mtu      int
}

// play works the jobs off, so many at once.
func (e *evaluation) play(ctx context.Context, jobs []*job) ([]*outcome, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	queue := make(chan *job, len(jobs))
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	var mu sync.Mutex
	var outcomes []*outcome
	var failed error
	var workers sync.WaitGroup
	for slot := range min(e.Parallel, 16) {
		workers.Go(func() {
			for j := range queue {
				if ctx.Err() != nil {
					return
				}
				o, err := j.run(ctx, fmt.Sprintf("%s%c", e.ID, 'a'+rune(slot)), e.Bin, e.mtu)
				mu.Lock()
				if err != nil && failed == nil {
					failed = fmt.Errorf("%s, %s, %s: %w", j.policy.name, j.item.name, j.what, err)
					stop()
				}
				if err == nil {
					outcomes = append(outcomes, o)
					e.tell(len(outcomes), len(jobs), o)
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	if failed != nil {
		return nil, failed
	}
	return outcomes, ctx.Err()
}

func (e *evaluation) tell(n, all int, o *outcome) {
	ttm := "nothing dropped"
	if d, ok := o.mitigated(); ok {
		ttm = fmt.Sprintf("%d ms", d.Milliseconds())
	}
	fmt.Fprintf(e.Progress, "[%3.0f s] %3d/%d  %-9s  %-22s %-6s  %-15s  %v\n",
		time.Since(e.start).Seconds(), n, all, o.job.policy.name, o.job.item.name, o.job.what, ttm, o.rules)
}

// sortLongestFirst keeps the last worker from being alone with a long run.
func sortLongestFirst(jobs []*job) {
	slices.SortStableFunc(jobs, func(a, b *job) int { return int(b.span() - a.span()) })
}

func (j *job) span() time.Duration { return j.lead + j.attack + j.tail }
