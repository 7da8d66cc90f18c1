package xdp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
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

// fill writes what a flood of n sources with a packet each leaves in the open half of
// every CPU's table, as count.h would, and returns how many records that are.
func (r *rig) fill(t *sourceTable, n int) (records int) {
	half := int(r.control.Epoch)
	hot := r.hot(t, half)
	for cpu := range r.cpus {
		region := half*r.cpus + cpu
		for i := range n {
			rec := record{key: keyUsed | classSYN<<kindShift, counts: 1<<byteBits | 60}
			rec.address[0] = uint64(words(scattered(i))[0])
			if _, _, ok := t.enter(region, hot, &rec, r.seed); ok {
				records++
			}
		}
	}
	return records
}

// BenchmarkDrain reads and clears a window in which every CPU saw every source, which
// is the most that there is to join. The floor is a plain sum of the table's words, by
// one thread. What takes several threads is told twice: the CPU time of all of them, and
// the time until it was done; each is a low percentile, since others use the machine.
func BenchmarkDrain(b *testing.B) {
	for _, c := range []struct{ family, sources int }{{4, 100_000}, {4, 1_000_000}, {6, 400_000}} {
		b.Run(fmt.Sprintf("%d sources of IPv%d", c.sources, c.family), func(b *testing.B) {
			r := newRig(b, Config{SourceWays: 1 << 20, MaxSources: 1 << 17})
			sum, table := uint64(0), &r.tables[c.family/6]
			others := slices.Repeat([]uint64{1}, 1<<24) // what lies in the caches before
			read := func(words []uint64) {
				for _, w := range words {
					sum += w
				}
			}
			steps := [...]func(){
				func() { read(others) },
				func() { read(table.words) },
				func() {
					read(others)
					if err := r.end(); err != nil {
						b.Error(err)
					}
				},
				func() { r.scan() },
				r.Commit,
			}
			var wall, used [len(steps)][]float64
			records := 0
			for i := range b.N + 1 {
				records = r.fill(table, c.sources)
				for step, f := range steps {
					start, cpu := time.Now(), processTime(b)
					f()
					if i > 0 { // memory is got once
						wall[step] = append(wall[step], float64(time.Since(start).Microseconds())/1000)
						used[step] = append(used[step], float64(processTime(b)-cpu)/float64(records))
					}
				}
			}
			if sum == 0 {
				b.Error("the table is empty")
			}
			low := func(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/8] }
			b.ReportMetric(low(used[1])/2, "floor-cpu-ns/record")
			b.ReportMetric(low(used[3]), "scan-cpu-ns/record")
			b.ReportMetric(low(used[4]), "commit-cpu-ns/record")
			b.ReportMetric(low(wall[3]), "scan-ms")
			b.ReportMetric(low(wall[4]), "commit-ms")
			b.ReportMetric(float64(records), "records")
		})
	}
}

// processTime is the CPU time of all threads.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ts.Nano())
}
