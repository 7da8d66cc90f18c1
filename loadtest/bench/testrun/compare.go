package testrun

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Effort says how long to measure.
type Effort struct {
	Trials int           // per program
	Trial  time.Duration // of CPU time
}

// Cost is what a program costs per packet, in ns more than the program that does
// nothing.
type Cost struct {
	Net       float64 // the median
	Low, High float64 // the quartiles
}

// trial is one measurement of a program. A CPU changes its speed for a second or so
// whenever somebody else gets the other thread of its core, so what is subtracted is
// measured right before and right after.
type trial struct {
	net    float64 // ns per packet
	around float64 // what the program that does nothing cost, the dearer time of the two
}

// Compare measures programs in turns and returns their costs in order. The first
// is the one that does nothing. warm is run on each before its first trial.
func Compare(ctx context.Context, e Effort, subjects []*Subject, warm func(*Subject) error) ([]Cost, error) {
	repeats := make([]uint32, len(subjects))
	for i, s := range subjects {
		if err := warm(s); err != nil {
			return nil, fmt.Errorf("warming %s up: %w", s.Name, err)
		}
		var err error
		if repeats[i], err = calibrate(s, e.Trial); err != nil {
			return nil, err
		}
	}
	trials := make([][]trial, len(subjects))
	for range e.Trials {
		before, err := subjects[0].perPacket(repeats[0] / 4)
		if err != nil {
			return nil, err
		}
		for i, s := range subjects[1:] {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			// What the others left in the caches is not this program's cost.
			if _, err := s.perPacket(repeats[i+1] / 8); err != nil {
				return nil, err
			}
			cost, err := s.perPacket(repeats[i+1])
			if err != nil {
				return nil, err
			}
			after, err := subjects[0].perPacket(repeats[0] / 4)
			if err != nil {
				return nil, err
			}
			trials[i+1] = append(trials[i+1], trial{net: cost - (before+after)/2, around: max(before, after)})
			before = after
		}
	}
	costs := make([]Cost, len(subjects))
	for i := range costs[1:] {
		q := Quartiles(calmest(trials[i+1]))
		costs[i+1] = Cost{Net: q[1], Low: q[0], High: q[2]}
	}
	return costs, nil
}

// calmest returns the costs of the half of the trials that were disturbed least, by
// what the program that does nothing cost around them. It sorts trials.
func calmest(trials []trial) []float64 {
	slices.SortStableFunc(trials, func(a, b trial) int { return cmp.Compare(a.around, b.around) })
	var nets []float64
	for _, t := range trials[:(len(trials)+1)/2] {
		nets = append(nets, t.net)
	}
	return nets
}

// calibrate returns how many packets take one trial.
func calibrate(s *Subject, trial time.Duration) (uint32, error) {
	const probe = 20_000
	cost, err := s.perPacket(probe)
	if err != nil {
		return 0, err
	}
	return uint32(max(probe, float64(trial.Nanoseconds())/max(1, cost))), nil
}

// quantile sorts values.
func quantile(values []float64, q float64) float64 {
	slices.Sort(values)
	at := q * float64(len(values)-1)
	i := int(at)
	if i+1 >= len(values) {
		return values[len(values)-1]
	}
	return values[i] + (at-float64(i))*(values[i+1]-values[i])
}

// Quartiles returns the lower quartile, the median and the upper quartile. It
// sorts values.
func Quartiles(values []float64) [3]float64 {
	return [3]float64{quantile(values, 0.25), quantile(values, 0.5), quantile(values, 0.75)}
}

// On runs fn on a thread that stays on one CPU.
func On(cpu int, fn func() error) error {
	done := make(chan error)
	go func() {
		// The thread is not unlocked: it ends with the goroutine, and its
		// affinity with it.
		runtime.LockOSThread()
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			done <- fmt.Errorf("moving to CPU %d: %w", cpu, err)
			return
		}
		done <- fn()
	}()
	return <-done
}
