package filter

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/replay"
	"github.com/weir-net/weir/services/internal/kit/testkit"
	"github.com/weir-net/weir/services/probe/internal/guard"
)

const million = 1_000_000

// nth is a lease as the policy writes it: 360 bytes of key and value.
func nth(b *testing.B, i int, ttl time.Duration) *kgo.Record {
	b.Helper()
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 0x0b000000+uint32(i)*37)
	key, value, err := commands.Encode(commands.Command{
		Action: commands.Drop, Target: schemas.Target{Kind: schemas.TargetAll}, TTL: ttl, Issuer: "policy",
		Reason: fmt.Sprintf("R1: %d pps from one source, more than 1000", 1000+i%5000),
		Match:  commands.Match{Source: netip.PrefixFrom(netip.AddrFrom4(a), 32)},
		Evidence: &commands.Evidence{
			Rule: "R1", Measured: float64(1000 + i%5000), Threshold: 1000, Window: "1s", Interface: "edge/eth0",
			BootID: "5f0c1d2e3a4b5c6d", Seq: uint64(i / 100), Partition: 3, Offset: int64(i / 10),
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return &kgo.Record{Topic: "commands", Key: key, Value: value, Offset: int64(i), Timestamp: time.Now()}
}

// logOf is a log of a million leases, in the portions in which a broker hands
// them out.
func logOf(b *testing.B, ttl time.Duration) [][]*kgo.Record {
	b.Helper()
	log := make([][]*kgo.Record, 0, million/blockSize+1)
	for i := range million {
		if i%blockSize == 0 {
			log = append(log, nil)
		}
		last := &log[len(log)-1]
		*last = append(*last, nth(b, i, ttl))
	}
	return log
}

// scene is a filter in front of a real data plane.
type scene struct {
	*Filter
	dp *timed
}

// timed notes how much time of a CPU the longest call took: so long did the drain
// wait, had the machine nothing else to do.
type timed struct {
	*xdp.Datapath
	longest time.Duration
}

func (d *timed) Put(e []xdp.Entry) error {
	defer d.note()()
	return d.Datapath.Put(e)
}

func (d *timed) Delete(m []xdp.Match) (int, error) {
	defer d.note()()
	return d.Datapath.Delete(m)
}

// note begins a call; what it returns ends it.
func (d *timed) note() func() {
	runtime.LockOSThread()
	start := onCPU(unix.CLOCK_THREAD_CPUTIME_ID)
	return func() {
		d.longest = max(d.longest, onCPU(unix.CLOCK_THREAD_CPUTIME_ID)-start)
		runtime.UnlockOSThread()
	}
}

func onCPU(clock int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(clock, &ts); err != nil {
		panic(err)
	}
	return time.Duration(ts.Nano())
}

// measured reports what a step costs.
func (s *scene) measured(b *testing.B, step func()) {
	b.Helper()
	s.dp.longest = 0
	stop, start := s.watch(b), onCPU(unix.CLOCK_PROCESS_CPUTIME_ID)
	b.StartTimer()
	step()
	b.StopTimer()
	b.ReportMetric((onCPU(unix.CLOCK_PROCESS_CPUTIME_ID) - start).Seconds(), "s-CPU")
	stop()
	b.ReportMetric(float64(s.dp.longest.Microseconds())/1000, "ms-CPU-longest-call")
}

func newScene(b *testing.B) *scene {
	b.Helper()
	dp, err := xdp.Open(xdp.Config{MaxLeases: million})
	if err != nil {
		b.Skip(err) // it needs root
	}
	b.Cleanup(func() {
		if err := dp.Close(); err != nil {
			b.Error(err)
		}
	})
	timing := &timed{Datapath: dp}
	f := New(timing, Options{
		Host: "edge", Topic: "commands", Mode: commands.ModeObserve, Log: slog.New(slog.DiscardHandler),
		Interfaces: func() []Interface { return []Interface{{Slot: 0, Name: "eth0"}, {Slot: 1, Name: "eth1"}} },
		Publish:    func(e events.Record) { b.Error(e.Reason) },
	})
	f.SetFacts(guard.Facts{Brokers: []guard.Broker{{Address: netip.MustParseAddr("192.0.2.9"), Port: 9092}}})
	return &scene{f, timing}
}

func (s *scene) read(b *testing.B, log [][]*kgo.Record) {
	b.Helper()
	s.Begin()
	for _, records := range log {
		s.Records(records)
	}
	s.Position(million, true)
	s.expect(b, million)
}

func (s *scene) expect(b *testing.B, want int) {
	b.Helper()
	if got, _ := s.dp.Len(); got != want {
		b.Fatalf("%d leases, want %d", got, want)
	}
}

// watch does what else a probe does, until stop, which reports how long that had to
// wait at most: the drain for the data plane's lock, status for the filter's.
func (s *scene) watch(b *testing.B) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	var lock, status time.Duration
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			start := time.Now()
			s.dp.Len() // takes the lock that Commit does
			lock = max(lock, time.Since(start))
			start = time.Now()
			s.mu.Lock()
			s.mu.Unlock() //nolint:staticcheck // for how long it was held is the question
			status = max(status, time.Since(start))
			time.Sleep(time.Millisecond)
		}
	}()
	return func() {
		cancel()
		<-done
		b.ReportMetric(float64(lock.Microseconds())/1000, "ms-drain-waited")
		b.ReportMetric(float64(status.Microseconds())/1000, "ms-status-waited")
	}
}

// BenchmarkReplay takes a million leases from records in memory to a data plane.
func BenchmarkReplay(b *testing.B) {
	log := logOf(b, time.Hour)
	for b.Loop() {
		b.StopTimer()
		s := newScene(b)
		s.measured(b, func() { s.read(b, log) })
		b.StartTimer()
	}
}

// BenchmarkSweep is a second replay, of another half of the log: half a million
// leases have gone meanwhile.
func BenchmarkSweep(b *testing.B) {
	log := logOf(b, time.Hour)
	for b.Loop() {
		b.StopTimer()
		s := newScene(b)
		s.read(b, log)
		s.Begin()
		for _, records := range log[:len(log)/2] {
			s.Records(records)
		}
		s.measured(b, func() { s.Position(million, true) })
		s.expect(b, len(log)/2*blockSize)
		b.StartTimer()
	}
}

// BenchmarkExpiry is a million leases that lapse in one second.
func BenchmarkExpiry(b *testing.B) {
	log := logOf(b, time.Hour)
	for b.Loop() {
		b.StopTimer()
		s := newScene(b)
		s.read(b, log)
		s.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		s.measured(b, s.expire)
		s.expect(b, 0)
		b.StartTimer()
	}
}

// BenchmarkTopic takes a million leases from a topic to a data plane. Before that,
// the memory of this process is what the broker's double and the producer take.
func BenchmarkTopic(b *testing.B) {
	b.Run("double", func(b *testing.B) {
		_, cfg := testkit.Double(b)
		fromTopic(b, cfg)
	})
	b.Run("kafka", func(b *testing.B) { fromTopic(b, testkit.Kafka(b)) })
}

func fromTopic(b *testing.B, cfg *kafka.Config) {
	b.Helper()
	opts, err := cfg.Options("bench")
	if err != nil {
		b.Fatal(err)
	}
	topic := cfg.Topics().Commands
	produce(b, opts, topic)
	for b.Loop() {
		b.StopTimer()
		s := newScene(b)
		debug.FreeOSMemory()
		before := resident(b, "VmRSS")
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak is from now on
			b.Fatal(err)
		}
		ctx, stop := context.WithCancel(b.Context())
		log := replay.New(topic, opts, slog.New(slog.DiscardHandler))
		ended := make(chan error, 1)
		s.measured(b, func() {
			go func() { ended <- log.Run(ctx, s) }()
			for range s.Changed() {
				if _, ready := s.Applied(); ready {
					return
				}
			}
		})
		s.expect(b, million)
		b.ReportMetric(float64(resident(b, "VmHWM")-before)/1024, "MB-peak")
		debug.FreeOSMemory()
		b.ReportMetric(float64(resident(b, "VmRSS")-before)/1024, "MB-after")
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		b.StartTimer()
	}
}

func produce(b *testing.B, opts []kgo.Opt, topic string) {
	b.Helper()
	client, err := kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.ProducerLinger(5*time.Millisecond))...)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	for i := range million {
		r := nth(b, i, time.Hour)
		r.Topic = topic
		client.Produce(b.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				b.Error(err)
			}
		})
	}
	if err := client.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// resident returns a figure of this process's memory in KiB.
func resident(b *testing.B, name string) int {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if fields := bytes.Fields(line); string(fields[0]) == name+":" {
			n, err := strconv.Atoi(string(fields[1]))
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("/proc/self/status has no " + name)
	return 0
}
