package main

import (
	"sync/atomic"

	"github.com/weir-net/weir/services/aggregator/internal/graph"
	"github.com/weir-net/weir/services/internal/gokakit"
	"github.com/weir-net/weir/services/internal/kit/health"
)

func registerMetrics(h *health.Server, s *graph.Stream, p *gokakit.Supervisor) {
	stats := s.Stats()
	for _, c := range []struct {
		name, help string
		n          *atomic.Uint64
	}{
		{"weir_aggregator_chunks_total", "Counts records read.", &stats.Chunks},
		{"weir_aggregator_windows_total", "Windows applied to the table.", &stats.Windows},
		{"weir_aggregator_duplicates_total", "Records seen before and ignored.", &stats.Duplicates},
		{"weir_aggregator_late_total", "Records of an earlier life of their probe, ignored.", &stats.Late},
		{"weir_aggregator_bad_records_total", "Records that could not be used.", &stats.Bad},
		{"weir_aggregator_deleted_total", "Silent interfaces deleted from the table.", &stats.Deleted},
	} {
		h.Counter(c.name, c.help, func() float64 { return float64(c.n.Load()) })
	}
	h.Counter("weir_aggregator_restarts_total", "Times the processor had to be built anew.", func() float64 { return float64(p.Restarts()) })
	h.Gauge("weir_aggregator_interfaces", "Interfaces in memory.", func() float64 { return float64(s.Interfaces()) })
	h.Gauge("weir_aggregator_apply_seconds", "Time to apply the last window.", func() float64 { return float64(stats.ApplyNanos.Load()) / 1e9 })
	h.Ready("table", p.Ready)
}
