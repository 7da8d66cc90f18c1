package xdp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// scattered are different IPv4 addresses in no order.
func scattered(i int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(i)*0x9e3779b1)
	return netip.AddrFrom4(b)
}

func dropsOfSources(n, bits int) []Entry {
	entries := make([]Entry, n)
	for i := range entries {
		p, _ := scattered(i).Prefix(min(32, bits+i%(33-bits)))
		entries[i] = Entry{Match: Match{Source: p}, Action: ActionDrop, Interfaces: 1, ExpiresAt: time.Hour}
	}
	return entries
}

// threadTime is the CPU time of the thread, which other work on the machine does
// not lengthen.
func threadTime(b *testing.B) time.Duration {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// BenchmarkLeases loads, finds again, sweeps and deletes leases in the portions in
// which a replay brings them.
func BenchmarkLeases(b *testing.B) {
	const portion = 8192
	for _, c := range []struct {
		name    string
		entries []Entry
	}{
		{"1M sources", dropsOfSources(1_000_000, 32)},
		{"100k prefixes", dropsOfSources(100_000, 24)},
	} {
		rate := func(b *testing.B, d time.Duration) {
			b.ReportMetric(float64(len(c.entries)*b.N)/d.Seconds()/1e6, "M/s")
		}
		inPortions := func(b *testing.B, f func([]Entry) error) {
			for at := 0; at < len(c.entries); at += portion {
				if err := f(c.entries[at:min(at+portion, len(c.entries))]); err != nil {
					b.Fatal(err)
				}
			}
		}
		open := func(b *testing.B) *rig {
			return newRig(b, Config{MaxLeases: 1_100_000})
		}
		b.Run("put "+c.name, func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var took time.Duration
			for range b.N {
				b.StopTimer()
				r := open(b)
				b.StartTimer()
				start := threadTime(b)
				inPortions(b, r.Put)
				took += threadTime(b) - start
				b.StopTimer()
				r.Close()
			}
			rate(b, took)
		})
		for _, part := range []string{"renew", "sweep none", "delete"} {
			b.Run(fmt.Sprint(part, " ", c.name), func(b *testing.B) {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				var took time.Duration
				for range b.N {
					r := open(b)
					inPortions(b, r.Put)
					start := threadTime(b)
					switch part {
					case "renew":
						inPortions(b, r.Put)
					case "sweep none":
						if _, err := r.Sweep(func(Entry) bool { return true }); err != nil {
							b.Fatal(err)
						}
					case "delete":
						inPortions(b, func(e []Entry) error {
							m := make([]Match, len(e))
							for i := range e {
								m[i] = e[i].Match
							}
							_, err := r.Delete(m)
							return err
						})
					}
					took += threadTime(b) - start
					r.Close()
				}
				rate(b, took)
			})
		}
	}
}
