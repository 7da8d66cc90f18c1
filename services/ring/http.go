package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weir-net/weir/services/internal/kit/health"
	"github.com/weir-net/weir/services/ring/internal/live"
)

// listener serves handler until its context ends.
func listener(cfg *Config, handler http.Handler, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.HTTPAddress)
		if err != nil {
			return fmt.Errorf("listening: %w", err)
		}
		scheme := "http"
		if cfg.TLSCertFile != "" {
			scheme = "https"
		}
		log.Info("the page is served", "address", scheme+"://"+l.Addr().String()+"/", "acting", cfg.Act)
		// A ReadTimeout would end streams: it goes on after the request was read.
		srv := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 32 << 10,
			BaseContext: func(net.Listener) context.Context { return ctx }}
		go func() {
			<-ctx.Done()
			srv.Close()
		}()
		if cfg.TLSCertFile != "" {
			err = srv.ServeTLS(l, cfg.TLSCertFile, cfg.TLSKeyFile)
		} else {
			err = srv.Serve(l)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving the page: %w", err)
		}
		return nil
	}
}

// observed returns the routes that every service has.
func observed(hub *live.Hub) map[string]http.Handler {
	h := health.New("off")
	h.Gauge("weir_ring_interfaces", "Interfaces shown.", func() float64 { return float64(hub.Stats().Interfaces) })
	h.Gauge("weir_ring_leases", "Leases and modes known.", func() float64 { return float64(hub.Stats().Leases) })
	h.Gauge("weir_ring_browsers", "Browsers watching.", func() float64 { return float64(hub.Stats().Clients) })
	h.Gauge("weir_ring_broker_up", "Whether a broker answers.", func() float64 {
		if hub.Link().Up {
			return 1
		}
		return 0
	})
	h.Counter("weir_ring_bad_records_total", "Records that could not be read.", func() float64 { return float64(hub.Stats().Bad) })
	h.Counter("weir_ring_refused_records_total", "Records of interfaces beyond the limit.", func() float64 { return float64(hub.Stats().Refused) })
	h.Counter("weir_ring_resyncs_total", "Snapshots sent to browsers that did not keep up.", func() float64 { return float64(hub.Stats().Resynced) })
	return map[string]http.Handler{
		"GET /healthz": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		"GET /readyz": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if l := hub.Link(); !l.Up || !l.CaughtUp {
				w.WriteHeader(http.StatusServiceUnavailable)
				fmt.Fprintf(w, "brokers: up %v, caught up %v\n", l.Up, l.CaughtUp)
			}
		}),
		"GET /metrics": promhttp.HandlerFor(h.Registry, promhttp.HandlerOpts{}),
	}
}
