package rules

import (
	"maps"
	"slices"
	"strings"
	"testing"
)

// TestDefaultsAreThoseOfTheEvidence: each number was measured on captures, and
// none changes by accident.
func TestDefaultsAreThoseOfTheEvidence(t *testing.T) {
	want := map[string]string{
		"sources.R1.window": "1s", "sources.R1.all.syn.at_least": "100", "sources.R1.all.syn_share.at_least": "0.5", "sources.R1.action": "drop", "sources.R1.cover": "all", "sources.R1.rate": "50",
		"sources.R2.window": "10s", "sources.R2.all.syn.at_least": "60", "sources.R2.all.syn_share.at_least": "0.18", "sources.R2.action": "rate-limit", "sources.R2.rate": "5", "sources.R2.cover": "syn", "sources.R2.drop_after_renewals": "2", "sources.R2.drop_above": "300",
		"sources.R3.window": "1s", "sources.R3.all.udp.at_least": "1000", "sources.R3.any.udp_mean_frame.below": "200", "sources.R3.any.port_pairs.at_least": "32", "sources.R3.vote": "true", "sources.R3.action": "drop", "sources.R3.cover": "all", "sources.R3.rate": "500",
		"sources.R4.window": "1s", "sources.R4.all.icmp.at_least": "200", "sources.R4.vote": "true", "sources.R4.action": "drop", "sources.R4.cover": "icmp", "sources.R4.rate": "50",
		"sources.R5.window": "1s", "sources.R5.all.fragments.at_least": "2000", "sources.R5.vote": "true", "sources.R5.action": "rate-limit", "sources.R5.rate": "200", "sources.R5.cover": "fragments",
		"sources.R6.window": "1s", "sources.R6.any.packets.at_least": "50000", "sources.R6.any.link_share.at_least": "0.5", "sources.R6.any.link_share.for": "5s", "sources.R6.vote": "true", "sources.R6.action": "rate-limit", "sources.R6.rate": "1000", "sources.R6.cover": "dominant",
		"sources.R7.window": "10s", "sources.R7.all.syn.at_least": "500", "sources.R7.unusual": "4", "sources.R7.action": "rate-limit", "sources.R7.rate": "50", "sources.R7.cover": "syn",
		"signatures.S1.window": "1s", "signatures.S1.class": "syn", "signatures.S1.packets": "300", "signatures.S1.sources": "100", "signatures.S1.per_source": "3", "signatures.S1.healthy": "0.1667", "signatures.S1.action": "rate-limit", "signatures.S1.rate": "50", "signatures.S1.vote": "true",
		"signatures.S2.window": "10s", "signatures.S2.class": "udp", "signatures.S2.packets": "100", "signatures.S2.sources": "8", "signatures.S2.shared.sources": "50", "signatures.S2.action": "drop", "signatures.S2.vote": "true",
		"signatures.S2.fragments.per_packet": "2", "signatures.S2.fragments.mean_frame": "512", "signatures.S2.fragments.sources": "0.5", "signatures.S2.also.frag_later.packets": "100", "signatures.S2.also.icmp.packets": "200", "signatures.S2.also.icmp.action": "rate-limit", "signatures.S2.also.icmp.rate": "50",
		"signatures.S3.window": "1s", "signatures.S3.class": "udp", "signatures.S3.packets": "500", "signatures.S3.sources": "50", "signatures.S3.action": "drop", "signatures.S3.vote": "true",
		"signatures.S4.window": "1s", "signatures.S4.class": "synack", "signatures.S4.packets": "300", "signatures.S4.sources": "100", "signatures.S4.mute": "0.8", "signatures.S4.also.rst.packets": "100", "signatures.S4.action": "rate-limit", "signatures.S4.rate": "50", "signatures.S4.vote": "true",
		"prefixes.P1.window": "60s", "prefixes.P1.blocked": "8", "prefixes.P1.share": "0.8", "prefixes.P1.bits4": "24", "prefixes.P1.bits6": "48", "prefixes.P1.action": "rate-limit", "prefixes.P1.rate": "100", "prefixes.P1.drop_after_renewals": "2",
		"unexplained.factor": "4", "unexplained.floor": "1000", "unexplained.for": "3s", "unexplained.explained": "0.7", "unexplained.again": "10m",
		"baseline.warm": "10m", "baseline.memory": "1h", "baseline.thaw": "1m", "baseline.factor": "2", "baseline.limit": "4",
		"caution.port_pairs": "40", "caution.inside": "640", "caution.syn_share": "0.1667", "caution.tcp": "100", "caution.times": "10",
		"lease.first": "60s", "lease.longest": "1h", "lease.relapse": "10m", "lease.quiet": "30s", "lease.renew_share": "0.5",
		"budget.per_second": "256", "budget.total": "65536", "budget.known_share": "0.3", "budget.known_free": "16", "budget.bytes_share": "0.5",
		"mode": "enforce", "version": "1",
	}
	got := maps.Clone(parse(t, "").text)
	ports := map[string]int{}
	maps.DeleteFunc(got, func(p, _ string) bool {
		if strings.HasPrefix(p, "signatures.S2.ports.") || strings.HasPrefix(p, "signatures.S2.shared.ports.") {
			ports[p[:strings.LastIndex(p, ".")]]++
			return true
		}
		return strings.HasSuffix(p, ".id") || strings.HasSuffix(p, ".name") || strings.HasSuffix(p, ".metric") || strings.HasSuffix(p, ".class") && strings.Contains(p, ".also.")
	})
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if got[p] != want[p] {
			t.Errorf("%s is %q, want %q", p, got[p], want[p])
		}
		delete(got, p)
	}
	if len(got) > 0 {
		t.Errorf("not listed here: %v", got)
	}
	if ports["signatures.S2.ports"] != 24 || ports["signatures.S2.shared.ports"] != 13 {
		t.Errorf("ports %v, want 24 of amplifiers and 13 shared", ports)
	}
}
