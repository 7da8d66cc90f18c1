package main

import (
	"errors"
	"os"
	"strconv"
	"strings"

	kitevents "github.com/weir-net/weir/services/internal/kit/events"
	"github.com/weir-net/weir/services/internal/kit/health"
)

func registerMetrics(s *health.Server, v *statusView, p *kitevents.Publisher) {
	stats := v.loop.Stats()
	s.Counter("weir_probe_windows_total", "Windows published and acknowledged.", func() float64 { return float64(stats.Windows.Load()) })
	s.Counter("weir_probe_records_total", "Counts records acknowledged.", func() float64 { return float64(stats.Records.Load()) })
	s.Counter("weir_probe_record_bytes_total", "Bytes of counts records before compression.", func() float64 { return float64(stats.Bytes.Load()) })
	s.Counter("weir_probe_retries_total", "Counts records that had to be sent again.", func() float64 { return float64(stats.Retries.Load()) })
	s.Counter("weir_probe_shed_sources_total", "Sources summed up instead of listed.", func() float64 { return float64(stats.Shed.Load()) })
	s.Counter("weir_probe_failed_windows_total", "Windows that could not be drained or encoded.", func() float64 { return float64(stats.Failed.Load()) })
	s.Gauge("weir_probe_drain_seconds", "Time to drain and encode the last window.", func() float64 { return float64(stats.DrainNanos.Load()) / 1e9 })
	s.Gauge("weir_probe_publish_seconds", "Time until the last window was acknowledged.", func() float64 { return float64(stats.PublishNanos.Load()) / 1e9 })
	s.Counter("weir_probe_rejected_commands_total", "Commands refused.", func() float64 { return float64(v.leases.Rejected()) })
	s.Gauge("weir_probe_leases", "Leases in the filter.", func() float64 { n, _ := v.dp.Len(); return float64(n) })
	s.Gauge("weir_probe_bpf_bytes", "Memory of the BPF maps.", func() float64 { return float64(v.dp.MemoryBytes()) })
	s.Counter("weir_probe_events_total", "Events published.", func() float64 { n, _ := p.Counts(); return float64(n) })
	s.Counter("weir_probe_events_dropped_total", "Events that were dropped.", func() float64 { _, n := p.Counts(); return float64(n) })
	s.Ready("interfaces", v.manager.Ready)
	s.Ready("commands", func() error {
		if _, ready := v.leases.Applied(); !ready {
			return errors.New("the commands topic has not been replayed yet")
		}
		return nil
	})
	s.Ready("counts", v.loop.Ready)
}

// residentBytes is the process's resident memory.
func residentBytes() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	n, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return n * uint64(os.Getpagesize())
}
