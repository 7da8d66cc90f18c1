package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/bench/testrun"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
)

// Paced is a SYN flood at an even rate, one frame per system call.
type Paced struct {
	Sources []netip.Addr
	PPS     int
	Length  time.Duration // of a trial
	Trials  int
	CPU     int // that the sender stays on
}

// nowhere is an interface that frees what it is given.
const nowhere = "weir-nowhere"

// SoftirqCost measures what a packet of a slow flood costs where it is received as
// by most NICs' drivers: in the softirq of the CPU that is told of it, without a
// thread. On a veth that runs before the sender's system call returns, so that the
// CPU time of that call has all of it. What the sender alone needs is the same call
// on an interface that frees the frame. Between two frames the sender sleeps, so
// that each finds caches as cold as on a host that has little to do.
//
// Returned is the CPU time per frame, trial by trial, first of the sender alone and
// then of the treatments in their order; an error in place of those that are not
// available.
func (w *Wire) SoftirqCost(ctx context.Context, p Paced, treatments []Treatment) (samples [][]time.Duration, missing []error, err error) {
	if err := errors.Join(w.likeNIC(), w.receive(receiving{})); err != nil {
		return nil, nil, err
	}
	alone, err := w.pacedSender(nowhere)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(alone)
	wire, err := w.pacedSender(lab.DataInterface)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(wire)
	samples, missing = make([][]time.Duration, 1+len(treatments)), make([]error, 1+len(treatments))
	for range p.Trials {
		used, err := p.send(ctx, alone)
		if err != nil {
			return nil, nil, err
		}
		samples[0] = append(samples[0], used)
		for i, t := range treatments {
			if missing[1+i] != nil {
				continue
			}
			used, err := w.pacedUnder(ctx, p, wire, t)
			if errors.Is(err, errUnavailable) {
				missing[1+i] = err
				continue
			}
			if err != nil {
				return nil, nil, fmt.Errorf("measuring %s: %w", t.Name, err)
			}
			samples[1+i] = append(samples[1+i], used)
		}
	}
	return samples, missing, nil
}

func (w *Wire) pacedUnder(ctx context.Context, p Paced, socket int, t Treatment) (used time.Duration, err error) {
	undo, err := t.apply(w)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	before, err := w.Wire(lab.Victim)
	if err != nil {
		return 0, err
	}
	if used, err = p.send(ctx, socket); err != nil {
		return 0, err
	}
	after, err := w.Wire(lab.Victim)
	if err != nil {
		return 0, err
	}
	sent := uint64(float64(p.PPS) * p.Length.Seconds())
	if arrived := after.ReceivedPackets - before.ReceivedPackets; arrived < sent {
		return 0, fmt.Errorf("%d of %d frames arrived", arrived, sent)
	}
	return used, nil
}

// pacedSender opens a socket that sends frames out of an interface of the clients'.
func (w *Wire) pacedSender(ifname string) (fd int, err error) {
	fd = -1
	err = w.Do(lab.Clients, func() error {
		if ifname == nowhere {
			if err := makeNowhere(); err != nil {
				return fmt.Errorf("making %s: %w", ifname, err)
			}
		}
		ifi, err := netlink.LinkByName(ifname)
		if err != nil {
			return fmt.Errorf("finding %s: %w", ifname, err)
		}
		// Protocol 0: this socket receives nothing.
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("opening a packet socket: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Attrs().Index}); err != nil {
			return errors.Join(fmt.Errorf("binding to %s: %w", ifname, err), unix.Close(fd))
		}
		return nil
	})
	return fd, err
}

// makeNowhere makes the interface anew; it ends with the lab's namespace. An ifb
// frees what no rule has sent to it, and without a queue, as a veth has none, its
// driver is called at once.
func makeNowhere() error {
	if old, err := netlink.LinkByName(nowhere); err == nil {
		if err := netlink.LinkDel(old); err != nil {
			return err
		}
	}
	if err := netlink.LinkAdd(&netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: nowhere}}); err != nil {
		return err
	}
	made, err := netlink.LinkByName(nowhere)
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(made); err != nil {
		return err
	}
	return netlink.QdiscReplace(&netlink.GenericQdisc{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: made.Attrs().Index, Parent: netlink.HANDLE_ROOT}, QdiscType: "noqueue",
	})
}

// send sends for one trial and returns the CPU time per frame of the calls that
// send, not of the waiting.
func (p Paced) send(ctx context.Context, socket int) (perFrame time.Duration, err error) {
	next := traffic.SYNs(netip.AddrPortFrom(lab.VictimAddress, httpPort), p.Sources, 1)
	frames := int(float64(p.PPS) * p.Length.Seconds())
	gap := time.Second / time.Duration(p.PPS)
	err = testrun.On(p.CPU, func() error {
		var used time.Duration
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			return fmt.Errorf("reading the clock: %w", err)
		}
		due := now.Nano()
		for range frames {
			if err := ctx.Err(); err != nil {
				return err
			}
			due += gap.Nanoseconds()
			if err := sleepUntil(due); err != nil {
				return err
			}
			f := next()
			start := testrun.ThreadTime()
			if _, err := unix.Write(socket, f); err != nil {
				return fmt.Errorf("sending a frame: %w", err)
			}
			used += testrun.ThreadTime() - start
		}
		perFrame = used / time.Duration(frames)
		return nil
	})
	return perFrame, err
}

// sleepUntil returns at once for what has passed.
func sleepUntil(monotonic int64) error {
	until := unix.NsecToTimespec(monotonic)
	for {
		err := unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &until, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("sleeping: %w", err)
		}
		return nil
	}
}
