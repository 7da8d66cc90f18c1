package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// HTTPFlood opens a new connection for each request of a random URL, from many
// workers at once, takes the first bytes of the answer and hangs up: the
// pattern of the published K-ONE experiment and of the tools of its kind.
type HTTPFlood struct {
	Server   netip.AddrPort
	Sources  []netip.Addr
	Workers  int           // over all sources
	Rate     float64       // connections per second over all workers; 0: as many as possible
	Duration time.Duration // 0: until the context ends
}

// Run floods and prints reports to w, the last with Done.
func (h HTTPFlood) Run(ctx context.Context, w io.Writer) (FloodReport, error) {
	if err := Guard(h.Server.Addr()); err != nil {
		return FloodReport{}, err
	}
	if len(h.Sources) == 0 || h.Workers < 1 {
		return FloodReport{}, errors.New("flooding: want at least one source and one worker")
	}
	if h.Duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, h.Duration)
		defer stop()
	}
	var first, last, requests, answered atomic.Int64
	out := newReporter(w)
	report := func(done bool) FloodReport {
		return FloodReport{
			At: BootTime(), First: time.Duration(first.Load()), Last: time.Duration(last.Load()),
			Requests: uint64(requests.Load()), Answered: uint64(answered.Load()),
			Sources: min(uint64(requests.Load()), uint64(len(h.Sources))), Done: done,
		}
	}
	var workers sync.WaitGroup
	for i := range h.Workers {
		source := h.Sources[i%len(h.Sources)]
		workers.Go(func() {
			pace := newPacer(h.Rate / float64(h.Workers))
			for pace.next(ctx, 1) == 1 && ctx.Err() == nil {
				requests.Add(1)
				first.CompareAndSwap(0, int64(BootTime()))
				if h.request(ctx, source) == nil {
					answered.Add(1)
				}
				last.Store(int64(BootTime()))
			}
		})
	}
	every(ctx, 100*time.Millisecond, func() { _ = out.print(report(false)) })
	workers.Wait()
	final := report(true)
	return final, out.print(final)
}

// request makes one connection and one request.
func (h HTTPFlood) request(ctx context.Context, source netip.Addr) error {
	d := net.Dialer{
		Timeout:   time.Second,
		LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)),
		Control:   bindLate,
		KeepAlive: -1,
	}
	conn, err := d.DialContext(ctx, "tcp", h.Server.String())
	if err != nil {
		return err
	}
	defer conn.Close()
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // hang up with a reset: no port is left waiting
	}
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	_, err = fmt.Fprintf(conn, "GET /%x?%x=%x HTTP/1.1\r\nHost: %s\r\nUser-Agent: flood/%d\r\n\r\n",
		rand.Uint64(), rand.Uint32(), rand.Uint64(), h.Server, rand.IntN(100))
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = conn.Read(b[:])
	return err
}

// bindLate lets many connections share a source address: the port is chosen
// at connect, where only the pair of endpoints must be free.
func bindLate(_, _ string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(err, failed)
}
