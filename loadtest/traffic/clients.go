package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// OrdinaryClients are what must not notice a flood: people with a browser who
// fetch pages over a kept connection, some of them over a new one.
type OrdinaryClients struct {
	Server   netip.AddrPort
	Sources  []netip.Addr
	Rate     float64       // requests per second of each client
	NewEvery int           // every n-th request takes a new connection; 0: none does
	Timeout  time.Duration // a slower request has failed
	Duration time.Duration // 0: until the context ends
}

// Run makes requests and prints reports to w, the last with Done.
func (o OrdinaryClients) Run(ctx context.Context, w io.Writer) error {
	if err := Guard(o.Server.Addr()); err != nil {
		return err
	}
	if len(o.Sources) == 0 || o.Rate <= 0 {
		return errors.New("running ordinary clients: want at least one source and a rate")
	}
	if o.Duration > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, o.Duration)
		defer stop()
	}
	var mu sync.Mutex
	var finished []Request
	var clients sync.WaitGroup
	for _, source := range o.Sources {
		clients.Go(func() {
			o.client(ctx, source, func(r Request) {
				mu.Lock()
				finished = append(finished, r)
				mu.Unlock()
			})
		})
	}
	out := newReporter(w)
	var failed error
	print := func(done bool) {
		mu.Lock()
		r := ClientsReport{At: BootTime(), Requests: finished, Done: done}
		finished = nil
		mu.Unlock()
		failed = errors.Join(failed, out.print(r))
	}
	every(ctx, 100*time.Millisecond, func() { print(false) })
	clients.Wait()
	print(true)
	return failed
}

// client is one person. Requests that the end of the run cuts short are not
// reported.
func (o OrdinaryClients) client(ctx context.Context, source netip.Addr, report func(Request)) {
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0)), Control: bindLate}
	kept := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 1}
	defer kept.CloseIdleConnections()
	fresh := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	period := time.Duration(float64(time.Second) / o.Rate)
	// Clients do not march in step.
	next := time.Now().Add(time.Duration(rand.Float64() * float64(period)))
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
		// A slow answer delays the next request, as it does for a person.
		next = time.Now().Add(time.Duration((0.5 + rand.Float64()) * float64(period)))
		transport, isNew := kept, o.NewEvery > 0 && n%o.NewEvery == 0
		if isNew {
			transport = fresh
		}
		r := Request{At: BootTime(), NewConnection: isNew}
		err := o.fetch(ctx, transport)
		r.Latency = BootTime() - r.At
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			r.Error = err.Error()
		}
		report(r)
	}
}

func (o OrdinaryClients) fetch(ctx context.Context, transport *http.Transport) error {
	ctx, stop := context.WithTimeout(ctx, o.Timeout)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+o.Server.String()+"/", nil)
	if err != nil {
		return fmt.Errorf("making a request: %w", err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK || n != pageSize {
		return fmt.Errorf("answer is %s with %d bytes", resp.Status, n)
	}
	return nil
}
