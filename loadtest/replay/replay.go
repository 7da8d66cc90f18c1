// Package replay plays captures into the probe's interface and compares what
// the counts topic then says with what is in the capture.
package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/traffic"
)

// Pace says how fast frames are sent. The zero value is the capture's own.
type Pace struct {
	PPS      float64 // a fixed rate
	Speed    float64 // the capture's own times this; 0 means 1
	TopSpeed bool    // as fast as the interface takes them
}

// Player plays one capture.
type Player struct {
	Frames    []capture.Frame
	Interface string
	Pace      Pace
	Loops     int           // how often; 0 means once, -1 until Duration or the context ends
	Duration  time.Duration // 0: no limit
}

// Result is what was sent, exactly.
type Result struct {
	Packets, Bytes uint64
	First, Last    time.Duration // boot time
	Loops          int           // begun
}

// Run plays. It must be called on a thread of the lab's clients' namespace.
func (p Player) Run(ctx context.Context) (Result, error) {
	if len(p.Frames) == 0 {
		return Result{}, errors.New("replaying: no frames")
	}
	if p.Duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, p.Duration)
		defer stop()
	}
	sender, err := traffic.NewSender(p.Interface)
	if err != nil {
		return Result{}, err
	}
	defer sender.Close()
	loops := 0
	for ; loops < max(1, p.Loops) || p.Loops < 0; loops++ {
		if ctx.Err() != nil {
			break
		}
		if err = p.once(ctx, sender); err != nil {
			err = fmt.Errorf("replaying: %w", err)
			break
		}
	}
	return Result{Packets: sender.Packets, Bytes: sender.Bytes, First: sender.First, Last: sender.Last, Loops: loops}, err
}

func (p Player) once(ctx context.Context, sender *traffic.Sender) error {
	start := time.Now()
	batch := make([][]byte, 0, 64)
	for i := 0; i < len(p.Frames) && ctx.Err() == nil; {
		if wait := p.due(i) - time.Since(start); wait > 0 {
			sleep(ctx, wait)
			continue
		}
		batch = batch[:0]
		elapsed := time.Since(start)
		for ; i < len(p.Frames) && len(batch) < cap(batch) && p.due(i) <= elapsed; i++ {
			batch = append(batch, p.Frames[i].Data)
		}
		if err := sender.Send(batch); err != nil {
			return err
		}
	}
	return nil
}

// due is when frame i is to be sent, since the start of the loop.
func (p Player) due(i int) time.Duration {
	switch {
	case p.Pace.TopSpeed:
		return 0
	case p.Pace.PPS > 0:
		return time.Duration(float64(i) / p.Pace.PPS * float64(time.Second))
	case p.Pace.Speed > 0:
		return time.Duration(float64(p.Frames[i].At) / p.Pace.Speed)
	}
	return p.Frames[i].At
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
