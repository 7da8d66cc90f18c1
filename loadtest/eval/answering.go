package eval

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/capture"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/replay"
	"github.com/weir-net/weir/loadtest/traffic"
)

// answering plays an attack as a client does that needs an answer: where the SYN
// of a connection did not get through, nothing else of it is sent. A blind replay
// goes on with the data of connections that were never opened, which no attacker
// can, and which a limit on SYN cannot stop.
type answering struct {
	frames   []capture.Frame
	headers  []header
	opening  map[flow]bool // flows whose SYN is in the capture
	open     map[flow]bool // in this loop
	tap      int           // socket on the victim's side
	listen   func() error  // notes which flows are open
	withheld uint64        // frames
}

// flow is one direction of a TCP connection.
type flow struct {
	from, to         netip.Addr
	fromPort, toPort uint16
}

func (h *header) flow() flow { return flow{h.source, h.destination, h.sourcePort, h.destinationPort} }

// opens reports whether the frame is a SYN.
func (h *header) opens(b []byte) bool {
	const flags, syn, ack = 13, 2, 16
	return h.isTCP() && len(b) > h.transport+flags && b[h.transport+flags]&(syn|ack) == syn
}

func (h *header) isTCP() bool { return h.source.IsValid() && h.protocol == protocolTCP && h.ports }

// newAnswering opens the tap in the victim's namespace.
func newAnswering(l *lab.Lab, frames []capture.Frame) (*answering, error) {
	a := &answering{frames: frames, opening: make(map[flow]bool), open: make(map[flow]bool)}
	a.listen = a.readTap
	for _, f := range frames {
		h := parse(f.Data)
		a.headers = append(a.headers, h)
		if h.opens(f.Data) {
			a.opening[h.flow()] = true
		}
	}
	err := l.Do(lab.Victim, func() (err error) {
		a.tap, err = openTap(lab.DataInterface)
		return err
	})
	return a, err
}

// openTap sees every frame that XDP passes.
func openTap(ifname string) (int, error) {
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return 0, fmt.Errorf("opening a tap: %w", err)
	}
	const everything = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, everything)
	if err != nil {
		return 0, fmt.Errorf("opening a tap: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index, Protocol: everything}),
	)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("opening a tap: %w", err), unix.Close(fd))
	}
	return fd, nil
}

func (a *answering) close() error { return unix.Close(a.tap) }

// run plays over and over for so long. It must be called on a thread of the
// clients' namespace.
func (a *answering) run(ctx context.Context, span time.Duration) (replay.Result, error) {
	ctx, stop := context.WithTimeout(ctx, span)
	defer stop()
	sender, err := traffic.NewSender(lab.DataInterface)
	if err != nil {
		return replay.Result{}, err
	}
	defer sender.Close()
	loops := 0
	for ; ctx.Err() == nil && err == nil; loops++ {
		err = a.once(ctx, sender)
	}
	return replay.Result{Packets: sender.Packets, Bytes: sender.Bytes, First: sender.First, Last: sender.Last, Loops: loops}, err
}

func (a *answering) once(ctx context.Context, sender *traffic.Sender) error {
	clear(a.open)
	start := time.Now()
	batch := make([][]byte, 0, 64)
	flush := func() error {
		err := sender.Send(batch)
		batch = batch[:0]
		return err
	}
	for i := range a.frames {
		f, h := &a.frames[i], &a.headers[i]
		if d := f.At - time.Since(start); d > 0 {
			if err := flush(); err != nil {
				return err
			}
			if wait(ctx, d) != nil {
				return nil // the time is over
			}
		}
		if h.isTCP() && !h.opens(f.Data) && a.opening[h.flow()] && !a.open[h.flow()] {
			// Its SYN may be among what was sent just now.
			if err := errors.Join(flush(), a.listen()); err != nil {
				return err
			}
			if !a.open[h.flow()] {
				a.withheld++
				continue
			}
		}
		if batch = append(batch, f.Data); len(batch) == cap(batch) {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// readTap takes note of every SYN that has arrived.
func (a *answering) readTap() error {
	var b [256]byte
	for {
		n, _, err := unix.Recvfrom(a.tap, b[:], unix.MSG_DONTWAIT)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("reading the tap: %w", err)
		}
		if h := parse(b[:n]); h.opens(b[:n]) {
			a.open[h.flow()] = true
		}
	}
}
