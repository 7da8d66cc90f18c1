package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/lab"
)

// batchFrames is how many frames one system call carries: enough that its cost
// vanishes, few enough that pacing stays even.
const batchFrames = 64

// Sender writes raw Ethernet frames to one interface and counts exactly those
// that the kernel took.
type Sender struct {
	fd      int
	headers [batchFrames]mmsghdr
	vectors [batchFrames]unix.Iovec
	pinned  runtime.Pinner

	// Packets and Bytes are what was sent; First and Last are the boot times
	// just before the first and just after the last system call.
	Packets, Bytes uint64
	First, Last    time.Duration
}

// mmsghdr is struct mmsghdr of sendmmsg(2) on 64-bit machines.
type mmsghdr struct {
	hdr unix.Msghdr
	_   [8]byte // the length sent, which a packet socket never cuts, and padding
}

// NewSender opens ifname of the calling process's namespace, which must be a
// lab's.
func NewSender(ifname string) (*Sender, error) {
	if err := lab.InLab(); err != nil {
		return nil, fmt.Errorf("opening %s: %w: %w", ifname, ErrRefused, err)
	}
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", ifname, err)
	}
	// Protocol 0: this socket receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifi.Index}); err != nil {
		return nil, errors.Join(fmt.Errorf("binding a packet socket to %s: %w", ifname, err), unix.Close(fd))
	}
	// The send buffer is smaller than the interface's queue, so that a frame
	// waits here and is never dropped there.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 1<<20); err != nil {
		return nil, errors.Join(fmt.Errorf("setting the send buffer: %w", err), unix.Close(fd))
	}
	s := &Sender{fd: fd}
	s.pinned.Pin(&s.vectors)
	for i := range s.headers {
		s.headers[i].hdr.Iov = &s.vectors[i]
		s.headers[i].hdr.Iovlen = 1
	}
	return s, nil
}

// Send writes the frames in order and returns when the kernel has taken all.
func (s *Sender) Send(frames [][]byte) error {
	if s.First == 0 && len(frames) > 0 {
		s.First = BootTime()
	}
	for len(frames) > 0 {
		n := min(len(frames), batchFrames)
		sent, err := s.batch(frames[:n])
		for _, f := range frames[:sent] {
			s.Bytes += uint64(len(f))
		}
		s.Packets += uint64(sent)
		frames = frames[sent:]
		switch {
		case err == nil, errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
			time.Sleep(50 * time.Microsecond) // the interface's queue is full
		default:
			return fmt.Errorf("sending a frame of %d bytes: %w", len(frames[0]), err)
		}
	}
	s.Last = BootTime()
	return nil
}

func (s *Sender) batch(frames [][]byte) (int, error) {
	for i, f := range frames {
		s.vectors[i].Base = unsafe.SliceData(f)
		s.vectors[i].SetLen(len(f))
	}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd),
		uintptr(unsafe.Pointer(&s.headers)), uintptr(len(frames)), 0, 0, 0)
	runtime.KeepAlive(frames)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// Close closes the socket.
func (s *Sender) Close() error {
	s.pinned.Unpin()
	return unix.Close(s.fd)
}

// pacer says how many packets are due.
type pacer struct {
	start time.Time
	pps   float64 // 0 means as many as possible
	sent  uint64
}

func newPacer(pps float64) *pacer { return &pacer{start: time.Now(), pps: pps} }

// next waits until packets are due and returns how many, at most limit. It
// does not catch up on more than a tenth of a second: a stall of the machine
// must not turn into a burst that no real sender would make.
func (p *pacer) next(ctx context.Context, limit int) int {
	if p.pps == 0 {
		return limit
	}
	for ctx.Err() == nil {
		due := int64(time.Since(p.start).Seconds()*p.pps) + 1 - int64(p.sent)
		if late := due - int64(p.pps/10) - 1; late > 0 {
			p.start = p.start.Add(time.Duration(float64(late) / p.pps * float64(time.Second)))
			due -= late
		}
		if due > 0 {
			n := min(int(due), limit)
			p.sent += uint64(n)
			return n
		}
		time.Sleep(max(100*time.Microsecond, min(time.Millisecond, time.Duration(float64(time.Second)/p.pps))))
	}
	return 0
}
