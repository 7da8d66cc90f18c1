// Package eval holds Weir against labelled captures, through the real kernel
// and a broker: which attacks it finds, how soon, what they get through, and
// what ordinary traffic loses by it; and beside it what fixed thresholds do.
//
// Every capture has a lab and a probe of its own; several are played at once, and
// share a broker, an aggregator and a policy service. The runs of one capture
// follow one another, and each begins when what the one before sent is out of
// every sliding window and its leases are released.
package eval

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
)

// Config says what to evaluate.
type Config struct {
	Bin      string // directory of the binaries
	Captures string // directory with labels.json
	ID       string // beginning of the labs' names, at most seven characters
	Quick    bool   // fewer and shorter runs
	Parallel int    // captures at once, 16 at most
	Only     string // the capture of this name alone; empty: all
	Progress io.Writer
	Out      io.Writer
}

// ErrMissed says that a target was missed.
var ErrMissed = errors.New("a target was missed")

// Run evaluates and prints.
func Run(ctx context.Context, c Config) (err error) {
	items, unreadable, err := readItems(c.Captures)
	if err != nil {
		return err
	}
	e := &evaluation{Config: c, start: time.Now()}
	if e.hub, err = startHub(ctx, c.ID+"0", c.Bin); err != nil {
		return fmt.Errorf("starting the services: %w", err)
	}
	defer func() { err = errors.Join(err, e.hub.close()) }()
	for _, it := range items {
		e.mtu = max(e.mtu, capture.LargestFrame(it.frames)-14)
	}
	outcomes, err := e.play(ctx, e.plan(items))
	if err != nil {
		return err
	}
	return errors.Join(append(unreadable, e.print(outcomes))...)
}

type evaluation struct {
	Config
	start time.Time
	hub   *hub
	mtu   int
	runs  int // of all courses

	mu       sync.Mutex
	done     int
	outcomes []*outcome // of runs and policies
}

// play works the courses off, so many at once.
func (e *evaluation) play(ctx context.Context, courses [][]*job) ([]*outcome, error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	queue := make(chan []*job, len(courses))
	for _, c := range courses {
		queue <- c
		e.runs += len(c)
	}
	close(queue)
	starting := make(chan struct{}, runtime.NumCPU())
	var workers sync.WaitGroup
	for slot := range e.Parallel {
		workers.Go(func() {
			for course := range queue {
				if ctx.Err() != nil {
					return
				}
				if err := e.course(ctx, course, fmt.Sprintf("%s%c", e.ID, 'a'+rune(slot)), starting); err != nil {
					stop(fmt.Errorf("%s: %w", course[0].item.name, err))
				}
			}
		})
	}
	workers.Wait()
	return e.outcomes, context.Cause(ctx)
}

// course is all runs of one capture, in one lab. As many labs are started at once
// as there are processors.
func (e *evaluation) course(ctx context.Context, jobs []*job, id string, starting chan struct{}) (err error) {
	starting <- struct{}{}
	s, err := openSite(ctx, id, e.Bin, "probe-of-"+jobs[0].item.name, e.mtu, e.hub)
	<-starting
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, j := range jobs {
		o, err := s.run(ctx, j)
		if err != nil {
			return fmt.Errorf("%s: %w", j.what, err)
		}
		e.tell(o)
	}
	return nil
}

// tell keeps what became of a run, and says so.
func (e *evaluation) tell(outcomes []*outcome) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.outcomes = append(e.outcomes, outcomes...)
	e.done++
	o := outcomes[0]
	ttm := "nothing dropped"
	if d, ok := o.mitigated(); ok {
		ttm = fmt.Sprintf("%d ms", d.Milliseconds())
	}
	fmt.Fprintf(e.Progress, "[%3.0f s] %3d/%d  %-24s %-6s  %-15s  %v\n",
		time.Since(e.start).Seconds(), e.done, e.runs, o.job.item.name, o.job.what, ttm, o.rules)
}

func (j *job) span() time.Duration { return j.lead + j.attack + j.tail }

// length is how long a course takes, beside what starting costs.
func length(course []*job) time.Duration {
	sum := time.Duration(0)
	for _, j := range course {
		sum += j.span()
	}
	return sum
}
