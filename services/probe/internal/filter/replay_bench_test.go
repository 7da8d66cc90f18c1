package filter

import (
	"encoding/binary"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/probe/internal/guard"
)

// million is a log of n leases, in the portions in which a broker hands them out.
func million(b *testing.B, n int, now time.Time) [][]*kgo.Record {
	b.Helper()
	const portion = 4096
	var log [][]*kgo.Record
	for i := range n {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 0x0b000000+uint32(i)*37)
		c := commands.Command{
			Action: commands.Drop, Target: schemas.Target{Kind: schemas.TargetAll}, TTL: time.Hour, Issuer: "policy", Reason: "flood",
			Match: commands.Match{Source: netip.PrefixFrom(netip.AddrFrom4(a), 32)},
		}
		key, value, err := commands.Encode(c)
		if err != nil {
			b.Fatal(err)
		}
		if i%portion == 0 {
			log = append(log, nil)
		}
		last := &log[len(log)-1]
		*last = append(*last, &kgo.Record{Topic: "commands", Key: key, Value: value, Offset: int64(i), Timestamp: now})
	}
	return log
}

// BenchmarkReplay reads a log of a million leases into a data plane.
func BenchmarkReplay(b *testing.B) {
	const n = 1_000_000
	now := time.Now()
	log := million(b, n, now)
	for range b.N {
		b.StopTimer()
		dp, err := xdp.Open(xdp.Config{MaxLeases: n})
		if err != nil {
			b.Skip(err) // it needs root
		}
		f := New(dp, Options{
			Host: "edge", Topic: "commands", Mode: commands.ModeObserve, Log: slog.New(slog.DiscardHandler),
			Interfaces: func() []Interface { return []Interface{{Slot: 0, Name: "eth0"}, {Slot: 1, Name: "eth1"}} },
			Publish:    func(e events.Record) { b.Fatal(e.Reason) },
		})
		f.SetFacts(guard.Facts{})
		b.StartTimer()
		f.Begin()
		start := time.Now()
		for _, records := range log {
			f.Records(records)
		}
		read := time.Now()
		f.Position(n, true)
		b.ReportMetric(read.Sub(start).Seconds(), "s-reading")
		b.ReportMetric(time.Since(read).Seconds(), "s-installing")
		b.StopTimer()
		if got, _ := dp.Len(); got != n {
			b.Errorf("%d leases, want %d", got, n)
		}
		if err := dp.Close(); err != nil {
			b.Error(err)
		}
		b.StartTimer()
	}
}
