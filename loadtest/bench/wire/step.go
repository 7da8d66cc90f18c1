package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/bench/testrun"
	"github.com/weir-net/weir/loadtest/lab"
)

const (
	// stepBytes are on their way at once: two or three of the largest buffers that
	// TCP makes, and fewer frames than a veth's ring holds.
	stepBytes = 64 << 10
	// turnSteps make a turn of about a millisecond: what disturbs a machine mostly
	// lasts longer, and so meets all treatments.
	turnSteps = 20
	// stepTimeout ends a step that hangs.
	stepTimeout = 5 * time.Second
)

// Steps measures bulk TCP in lockstep: one thread on one CPU writes to a
// connection and reads the same bytes at its other end, where they have arrived
// by then, because a veth delivers within the sender's call. There is no other
// thread to wait for, so that the CPU time of a byte is that of the way through
// the kernel. Every treatment has a wire of its own, and they take turns of about
// a millisecond; from lap to lap they change wires, since no two wires' memory is
// in the same place. Returned are the Gbit per second of CPU time of each turn, in
// the order of the treatments; an error in place of those that are not available.
func Steps(ctx context.Context, id string, mtu, cpu, rounds int, treatments []Treatment) (turns [][]float64, missing []error, err error) {
	wires := make([]*stepper, len(treatments))
	defer func() {
		for _, s := range wires {
			if s != nil && s.Wire != nil {
				err = errors.Join(err, s.Wire.Close())
			}
		}
	}()
	for i := range wires {
		wires[i] = &stepper{}
		if wires[i].Wire, err = Open(fmt.Sprintf("%s%d", id, i), mtu); err != nil {
			return nil, nil, err
		}
	}
	turns, missing = make([][]float64, len(treatments)), make([]error, len(treatments))
	for lap := range wires {
		if err := stepLap(ctx, cpu, rounds, lap, wires, treatments, turns, missing); err != nil {
			return nil, nil, err
		}
	}
	return turns, missing, nil
}

// stepLap gives every treatment a wire, and then lets them take turns.
func stepLap(ctx context.Context, cpu, rounds, lap int, wires []*stepper, treatments []Treatment, turns [][]float64, missing []error) (err error) {
	at := func(i int) *stepper { return wires[(i+lap)%len(wires)] }
	for i, t := range treatments {
		if missing[i] != nil {
			continue
		}
		undo, err := t.apply(at(i).Wire)
		if errors.Is(err, errUnavailable) {
			missing[i] = err
			continue
		}
		if err != nil {
			return fmt.Errorf("measuring %s: %w", t.Name, err)
		}
		defer func() { err = errors.Join(err, undo()) }()
		if err := at(i).connect(); err != nil {
			return err
		}
		defer at(i).hangUp()
	}
	return testrun.On(cpu, func() error {
		const warm = 20 // rounds until windows have opened and caches are filled
		for round := range warm + rounds {
			if err := ctx.Err(); err != nil {
				return err
			}
			for turn := range treatments {
				i := (turn + round) % len(treatments)
				if missing[i] != nil {
					continue
				}
				rate, err := at(i).turn()
				if err != nil {
					return fmt.Errorf("measuring %s: %w", treatments[i].Name, err)
				}
				if round >= warm {
					turns[i] = append(turns[i], rate)
				}
			}
		}
		return nil
	})
}

// stepper is a wire, and both ends of a connection over it.
type stepper struct {
	*Wire
	from, to *os.File
	buffer   [stepBytes]byte
}

func (s *stepper) connect() error {
	var listener net.Listener
	err := s.Do(lab.Victim, func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(lab.VictimAddress, 0).String())
		return err
	})
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer listener.Close()
	var from net.Conn
	err = s.Do(lab.Clients, func() (err error) {
		from, err = net.DialTimeout("tcp", listener.Addr().String(), 2*time.Second)
		return err
	})
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	if s.from, err = blocking(from); err != nil {
		return err
	}
	to, err := listener.Accept()
	if err == nil {
		s.to, err = blocking(to)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("accepting: %w", err), s.from.Close())
	}
	return nil
}

// hangUp ends the connection; what is left of it is of no interest.
func (s *stepper) hangUp() {
	_ = s.from.Close()
	_ = s.to.Close()
}

// blocking takes a connection out of the hands of Go's scheduler, which would
// take the waiting thread's CPU time for other work.
func blocking(c net.Conn) (*os.File, error) {
	defer c.Close()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("%T is not TCP", c)
	}
	f, err := tcp.File()
	if err != nil {
		return nil, fmt.Errorf("taking the connection: %w", err)
	}
	limit := unix.NsecToTimeval(stepTimeout.Nanoseconds())
	err = errors.Join(unix.SetNonblock(int(f.Fd()), false),
		unix.SetsockoptTimeval(int(f.Fd()), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(int(f.Fd()), unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing the connection: %w", err), f.Close())
	}
	return f, nil
}

// turn sends and receives for about a millisecond, and returns Gbit per second of
// CPU time.
func (s *stepper) turn() (float64, error) {
	from, to := int(s.from.Fd()), int(s.to.Fd())
	start := testrun.ThreadTime()
	for range turnSteps {
		if err := all(unix.Write, from, s.buffer[:]); err != nil {
			return 0, fmt.Errorf("sending: %w", err)
		}
		if err := all(unix.Read, to, s.buffer[:]); err != nil {
			return 0, fmt.Errorf("receiving: %w", err)
		}
	}
	const bits = turnSteps * stepBytes * 8
	return bits / 1e9 / (testrun.ThreadTime() - start).Seconds(), nil
}

// all calls until all bytes are written or read.
func all(call func(int, []byte) (int, error), fd int, b []byte) error {
	for len(b) > 0 {
		n, err := call(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the connection was closed")
		}
		b = b[n:]
	}
	return nil
}
