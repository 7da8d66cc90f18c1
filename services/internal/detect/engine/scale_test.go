package engine

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/rates"
)

// attacked are records of n interfaces, each under a spoofed flood and a direct
// one of 40 sources.
func attacked(n int) []*rates.Record {
	all := make([]*rates.Record, n)
	for i := range all {
		r := flood(20_000, 443)
		copy(r.Top, crowdOf(40, packets{syn: 300, tcp: 10}))
		r.Window1s = packets{syn: 32_000}.counts()
		r.Host = fmt.Sprintf("host-%d", i)
		all[i] = r
	}
	return all
}

// TestThousandInterfacesUnderAttack decides about all of them by one record
// each, within the budgets, and does not decide again what stands.
func TestThousandInterfacesUnderAttack(t *testing.T) {
	e, all := newEngine(t), attacked(1000)
	start := time.Now()
	for _, r := range all {
		d := e.Rates(r, now)
		if sources, signatures := count(d, Issue, true), count(d, Issue, false); sources != 40 || signatures != 1 {
			t.Fatalf("%s: %d leases on sources and %d signatures", r.Host, sources, signatures)
		}
	}
	t.Logf("1,000 interfaces, 41,000 leases in %v", time.Since(start))
	start = time.Now()
	for _, r := range all {
		if d := e.Rates(r, now.Add(250*time.Millisecond)); len(d) != 0 {
			t.Fatalf("%s: decided again: %s", r.Host, brief(d))
		}
	}
	t.Logf("once more, nothing new, in %v", time.Since(start))
	if e.Leases() != 41_000 {
		t.Errorf("%d leases", e.Leases())
	}
}

// TestARecordCostsNothingThatGrows: what nothing follows from allocates nothing,
// after ten records as after thousands, quiet or under attack.
func TestARecordCostsNothingThatGrows(t *testing.T) {
	quiet := record(crowdOf(200, packets{syn: 1, tcp: 9, udp: 20, udpBytes: 20_000})...)
	quiet.Victims = flood(200, 443).Victims
	for name, r := range map[string]*rates.Record{"quiet": quiet, "under attack": attacked(1)[0]} {
		e := newEngine(t)
		at := now
		step := func() {
			at = at.Add(250 * time.Millisecond)
			r.End = at
			e.Rates(r, at)
		}
		for range 10 {
			step()
		}
		if n := testing.AllocsPerRun(40, step); n > 2 {
			t.Errorf("%s: %.1f allocations per record", name, n)
		}
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for range 3000 {
			step()
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 256<<10 {
			t.Errorf("%s: 3,000 records grew the heap by %d kB", name, grown>>10)
		}
		runtime.KeepAlive(e)
	}
}

// TestGoneInterfacesAreForgotten, with all that was known of them.
func TestGoneInterfacesAreForgotten(t *testing.T) {
	e := newEngine(t)
	for _, r := range attacked(50) {
		e.Rates(r, now)
	}
	last := attacked(1)[0]
	last.Host = "alone"
	for s := range 1500 {
		at := now.Add(time.Duration(s) * time.Second)
		last.End = at
		e.Rates(last, at)
	}
	if len(e.watched) != 1 || len(e.held) > 1 || len(e.past) > 41 || len(e.known) > 1 {
		t.Errorf("%d interfaces, leases of %d targets, %d past leases", len(e.watched), len(e.held), len(e.past))
	}
}

// BenchmarkThousandInterfaces is one window of 1,000 interfaces per operation.
func BenchmarkThousandInterfaces(b *testing.B) {
	quiet := record(crowdOf(50, packets{syn: 1, tcp: 9, udp: 10, udpBytes: 10_000})...)
	quiet.Window1s, quiet.Window10s = packets{syn: 50, tcp: 450, udp: 500}.counts(), packets{syn: 50, tcp: 450, udp: 500}.counts()
	quiet.Victims = flood(50, 443).Victims
	for _, c := range []struct {
		name string
		all  []*rates.Record
	}{{"attacked", attacked(1000)}, {"quiet", nil}} {
		b.Run(c.name, func(b *testing.B) {
			all := c.all
			for i := range 1000 - len(all) {
				r := *quiet
				r.Host = fmt.Sprintf("host-%d", i)
				all = append(all, &r)
			}
			e, at := newEngine(b), now
			window := func() {
				at = at.Add(250 * time.Millisecond)
				for _, r := range all {
					r.End = at
					e.Rates(r, at)
				}
			}
			window()
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				window()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1000, "ns/record")
		})
	}
}

// BenchmarkFirstDecisions is the first window of an attack on 1,000 interfaces
// at once: 41 leases on each.
func BenchmarkFirstDecisions(b *testing.B) {
	all := attacked(1000)
	b.ReportAllocs()
	for range b.N {
		e, n := newEngine(b), 0
		for _, r := range all {
			n += len(e.Rates(r, now))
		}
		if n != 41_000 {
			b.Fatalf("%d decisions", n)
		}
	}
}
