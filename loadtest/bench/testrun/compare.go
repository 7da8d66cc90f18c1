package testrun

import (
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

// Cost is what a program costs per packet.
type Cost struct {
	Net       float64 // ns: the median less that of the program that does nothing
	Low, High float64 // ns: the quartiles, less the same
}

// Compare measures programs in turns and returns their costs in order. The first
// is the one that does nothing. warm is run on each before its first trial.
func Compare(ctx context.Context, e Effort, subjects []*Subject, warm func(*Subject) error) ([]Cost, error) {
	samples := make([][]float64, len(subjects))
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
	for range e.Trials {
		for i, s := range subjects {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			// What the others left in the caches is not this program's cost.
			if _, _, err := s.Run(repeats[i] / 8); err != nil {
				return nil, err
			}
			used, n, err := s.Run(repeats[i])
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], float64(used.Nanoseconds())/float64(n))
		}
	}
	base := quantile(samples[0], 0.5)
	costs := make([]Cost, len(subjects))
	for i := range costs {
		q := Quartiles(samples[i])
		costs[i] = Cost{Net: q[1] - base, Low: q[0] - base, High: q[2] - base}
	}
	return costs, nil
}

// calibrate returns how many packets take one trial.
func calibrate(s *Subject, trial time.Duration) (uint32, error) {
	const probe = 20_000
	used, n, err := s.Run(probe)
	if err != nil {
		return 0, err
	}
	perPacket := max(1, float64(used.Nanoseconds())/float64(n))
	return uint32(max(probe, float64(trial.Nanoseconds())/perPacket)), nil
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
