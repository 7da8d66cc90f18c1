package wire

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/bench/peers"
	"github.com/weir-net/weir/loadtest/bench/testrun"
	"github.com/weir-net/weir/loadtest/lab"
)

// liveBatch is how many frames the kernel makes at once: fewer than the 256
// that a veth's ring holds, so that none is lost there.
const liveBatch = 64

// sender makes live frames: real ones, which go through the veth driver.
type sender struct {
	w      *Wire
	picker *peers.Picker
	frame  []byte
	cpu    int
	irq    int // the thread that takes over long softirqs
}

func (w *Wire) newSender(f testrun.Frame, cpu int) (*sender, error) {
	p, err := peers.NewSender(w.Clients, f.Bytes, f.Varies)
	if err != nil {
		return nil, err
	}
	s := &sender{w: w, picker: p, frame: f.Bytes, cpu: cpu}
	s.irq, _ = kernelThread(func(name string) bool { return name == fmt.Sprintf("ksoftirqd/%d", cpu) })
	return s, nil
}

// send sends frames and returns the CPU time of sender and receiver, which share
// the CPU, and how many arrived.
func (s *sender) send(packets uint32) (used time.Duration, arrived uint64, err error) {
	before, err := s.w.Wire(lab.Victim)
	if err != nil {
		return 0, 0, err
	}
	err = testrun.On(s.cpu, func() error {
		return s.w.Do(lab.Clients, func() error {
			irq, start := timeOf(s.irq), testrun.ThreadTime()
			_, err := s.picker.Random().Run(&ebpf.RunOptions{
				Data: s.frame, Repeat: packets, Flags: unix.BPF_F_TEST_XDP_LIVE_FRAMES, BatchSize: liveBatch,
			})
			used = testrun.ThreadTime() - start + timeOf(s.irq) - irq
			return err
		})
	})
	if err != nil {
		return 0, 0, fmt.Errorf("sending live frames: %w", err)
	}
	after, err := s.w.Wire(lab.Victim)
	return used, after.ReceivedPackets - before.ReceivedPackets, err
}

// LiveCost measures treatments in turns and returns the CPU time per frame of
// sender and receiver, in the order of the treatments; an error in place of those
// that are not available.
func (w *Wire) LiveCost(ctx context.Context, cpu int, e testrun.Effort, sources uint32, f testrun.Frame, treatments []Treatment) ([][3]float64, []error, error) {
	if err := w.likeNIC(); err != nil {
		return nil, nil, err
	}
	s, err := w.newSender(f, cpu)
	if err != nil {
		return nil, nil, err
	}
	defer s.picker.Close()
	if err := s.picker.Sources(1, sources); err != nil {
		return nil, nil, err
	}
	samples, missing := make([][]float64, len(treatments)), make([]error, len(treatments))
	for range e.Trials {
		for i, t := range treatments {
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			if missing[i] != nil {
				continue
			}
			ns, err := s.trial(t, e.Trial)
			if errors.Is(err, errUnavailable) {
				missing[i] = err
				continue
			}
			if err != nil {
				return nil, nil, fmt.Errorf("measuring %s: %w", t.Name, err)
			}
			samples[i] = append(samples[i], ns)
		}
	}
	costs := make([][3]float64, len(treatments))
	for i := range costs {
		if missing[i] == nil {
			costs[i] = testrun.Quartiles(samples[i])
		}
	}
	return costs, missing, nil
}

// trial measures one treatment once, in ns per frame.
func (s *sender) trial(t Treatment, length time.Duration) (ns float64, err error) {
	undo, err := t.apply(s.w)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	const probe = 20_000
	used, arrived, err := s.send(probe)
	if err != nil {
		return 0, err
	}
	if arrived < probe/2 {
		return 0, fmt.Errorf("%d of %d live frames arrived", arrived, probe)
	}
	used, arrived, err = s.send(uint32(probe * max(1, float64(length)/float64(used))))
	return float64(used.Nanoseconds()) / float64(arrived), err
}
