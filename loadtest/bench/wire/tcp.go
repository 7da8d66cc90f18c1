package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/lab"
)

// settle is how long a transfer runs before it is measured: the window has
// opened by then.
const settle = 100 * time.Millisecond

// Trial is what bulk TCP reached in one trial.
type Trial struct {
	Gbits  float64 // per second
	PerCPU float64 // Gbit per second of CPU time of sender and receiver
}

// Throughput measures bulk TCP from the clients to the victim under treatments
// in turns, every second round in reverse, and returns what they reached in their
// order; an error in place of those that are not available.
func (w *Wire) Throughput(ctx context.Context, rounds int, length time.Duration, streams int, treatments []Treatment) ([][]Trial, []error, error) {
	all, missing := make([][]Trial, len(treatments)), make([]error, len(treatments))
	for round := range rounds {
		for i := range treatments {
			if round%2 == 1 {
				i = len(treatments) - 1 - i
			}
			if err := ctx.Err(); err != nil {
				return nil, nil, err
			}
			if missing[i] != nil {
				continue
			}
			got, used, took, err := w.transferUnder(treatments[i], length, streams)
			if errors.Is(err, errUnavailable) {
				missing[i] = err
				continue
			}
			if err != nil {
				return nil, nil, fmt.Errorf("measuring %s: %w", treatments[i].Name, err)
			}
			all[i] = append(all[i], Trial{Gbits: got / took.Seconds(), PerCPU: got / used.Seconds()})
		}
	}
	return all, missing, nil
}

// transferUnder returns the Gbit that arrived under a treatment, and the CPU time
// and the time that they took.
func (w *Wire) transferUnder(t Treatment, length time.Duration, streams int) (gbits float64, used, took time.Duration, err error) {
	undo, err := t.apply(w)
	if err != nil {
		return 0, 0, 0, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	return w.transfer(length, streams)
}

// transfer sends as much as it can for some time.
func (w *Wire) transfer(length time.Duration, streams int) (gbits float64, used, took time.Duration, err error) {
	var listener net.Listener
	err = w.Do(lab.Victim, func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(lab.VictimAddress, 0).String())
		return err
	})
	if err != nil {
		return 0, 0, 0, fmt.Errorf("listening: %w", err)
	}
	defer listener.Close()
	var received atomic.Uint64
	var running sync.WaitGroup
	defer running.Wait()
	for range streams {
		var from net.Conn
		err := w.Do(lab.Clients, func() (err error) {
			from, err = net.DialTimeout("tcp", listener.Addr().String(), 2*time.Second)
			return err
		})
		if err != nil {
			return 0, 0, 0, fmt.Errorf("connecting: %w", err)
		}
		defer from.Close() // which ends both sides
		to, err := listener.Accept()
		if err != nil {
			return 0, 0, 0, fmt.Errorf("accepting: %w", err)
		}
		running.Go(func() { pump(from) })
		running.Go(func() { swallow(to, &received) })
	}
	time.Sleep(settle)
	before, start, cpu := received.Load(), time.Now(), processTime()
	time.Sleep(length)
	bytes, took, used := received.Load()-before, time.Since(start), processTime()-cpu
	if bytes == 0 || used <= 0 {
		return 0, 0, 0, errors.New("nothing arrived")
	}
	return float64(bytes) * 8 / 1e9, used, took, nil
}

// processTime is the CPU time of this process, which sends and receives.
func processTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		return 0 // not possible: the clock exists since 2.6.12
	}
	return time.Duration(ts.Nano())
}

// pump writes until the connection is closed.
func pump(c net.Conn) {
	buffer := make([]byte, 128<<10)
	for {
		if _, err := c.Write(buffer); err != nil {
			return
		}
	}
}

// swallow reads until the other end closes.
func swallow(c net.Conn, received *atomic.Uint64) {
	defer c.Close()
	buffer := make([]byte, 256<<10)
	for {
		n, err := c.Read(buffer)
		received.Add(uint64(n))
		if err != nil {
			return
		}
	}
}
