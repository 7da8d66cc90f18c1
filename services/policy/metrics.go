package main

import (
	"sync/atomic"

	"github.com/weir-net/weir/services/internal/kit/health"
	"github.com/weir-net/weir/services/policy/internal/desk"
	"github.com/weir-net/weir/services/policy/internal/reload"
)

func registerMetrics(s *health.Server, d *desk.Desk, w *reload.Watcher) {
	stats := d.Stats()
	for _, c := range []struct {
		name, help string
		n          *atomic.Uint64
	}{
		{"weir_policy_rates_total", "Rates records read.", &stats.Rates},
		{"weir_policy_stale_rates_total", "Rates records that were too old to decide on.", &stats.Stale},
		{"weir_policy_bad_records_total", "Records that could not be read.", &stats.Bad},
		{"weir_policy_issued_total", "Leases issued.", &stats.Issued},
		{"weir_policy_renewed_total", "Leases renewed.", &stats.Renewed},
		{"weir_policy_released_total", "Leases released.", &stats.Released},
		{"weir_policy_refused_total", "Decisions that the budget forbade.", &stats.Refused},
		{"weir_policy_alerts_total", "Alerts about what no lease is written for.", &stats.Alerts},
		{"weir_policy_failed_writes_total", "Decisions that could not be written.", &stats.Failed},
		{"weir_policy_attack_records_total", "Records of attacks written.", &stats.AttacksWritten},
		{"weir_policy_failed_attack_records_total", "Records of attacks that could not be written; most are written again.", &stats.AttacksFailed},
		{"weir_policy_baseline_records_total", "Records of what is usual on an interface written.", &stats.MemoryWritten},
		{"weir_policy_failed_baseline_records_total", "Records of what is usual that could not be written.", &stats.MemoryFailed},
	} {
		s.Counter(c.name, c.help, func() float64 { return float64(c.n.Load()) })
	}
	s.Counter("weir_policy_rules_taken_total", "Rules files taken while running.", func() float64 { taken, _ := w.Counts(); return float64(taken) })
	s.Counter("weir_policy_rules_refused_total", "Rules files refused while running; the old rules stayed in force.", func() float64 { _, refused := w.Counts(); return float64(refused) })
	s.Gauge("weir_policy_leases", "Live leases of this instance.", func() float64 { return float64(d.Leases()) })
	s.Gauge("weir_policy_decide_seconds", "Time to decide on the last rates that led to a decision.", func() float64 { return float64(stats.DecideNanos.Load()) / 1e9 })
	s.Gauge("weir_policy_write_seconds", "Time until the last decisions were acknowledged.", func() float64 { return float64(stats.WriteNanos.Load()) / 1e9 })
	s.Ready("desk", d.Ready)
}
