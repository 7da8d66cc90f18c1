package traffic

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// pageSize is the size of the server's answer: a small page, several segments.
const pageSize = 8 << 10

// Serve answers with a small page at / and nowhere else, until ctx ends. It
// calls ready once it listens.
func Serve(ctx context.Context, addresses []netip.AddrPort, ready func()) error {
	page := make([]byte, pageSize)
	for i := range page {
		page[i] = "weir\n"[i%5]
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "text/plain")
			_, _ = w.Write(page) // a client that left is its own affair
		}),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
	}
	ended := make(chan error, len(addresses))
	for _, a := range addresses {
		listener, err := net.Listen("tcp", a.String())
		if err != nil {
			return errors.Join(fmt.Errorf("listening on %s: %w", a, err), server.Close())
		}
		go func() { ended <- server.Serve(listener) }()
	}
	ready()
	select {
	case <-ctx.Done():
		return server.Close()
	case err := <-ended:
		return errors.Join(fmt.Errorf("serving: %w", err), server.Close())
	}
}
