package broker_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/loadtest/broker"
	"github.com/weir-net/weir/schemas"
)

// launch runs the program and returns the address that it says it is ready on.
func launch(t *testing.T, program string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if !ok {
		t.Fatalf("the broker said %q", line)
	}
	return cmd, address
}

func client(t *testing.T, address string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(address))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestRecordsSurviveKill writes, kills the broker as a crash would, starts it
// again on the same port and reads everything that was acknowledged.
func TestRecordsSurviveKill(t *testing.T) {
	program := filepath.Join(t.TempDir(), "embedded-broker")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/embedded-broker").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	data := t.TempDir()
	cmd, address := launch(t, program, "-listen", "127.0.0.1:0", "-data", data, "-topics")
	topic := schemas.NewTopics("").Commands
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	producer := client(t, address)
	const records = 500
	for i := range records {
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte(strconv.Itoa(i)), Value: []byte("x")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	producer.Close()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	_, again := launch(t, program, "-listen", address, "-data", data)
	if again != address {
		t.Errorf("listens on %s after the restart, on %s before", again, address)
	}
	consumer := client(t, address, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := make(map[string]bool)
	for len(seen) < records {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(seen), records, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Key)] = true })
	}
}

func TestCompactionHappens(t *testing.T) {
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	b, err := broker.Start(ctx, broker.Config{Listen: "127.0.0.1:0", CompactEvery: 100 * time.Millisecond, Topics: true})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	topic := schemas.NewTopics("").Commands
	producer := client(t, b.Address())
	count := func() (n int, last string) {
		consumer, err := kgo.NewClient(kgo.SeedBrokers(b.Address()), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		defer consumer.Close()
		ends, err := kadm.NewClient(consumer).ListEndOffsets(ctx, topic)
		if err != nil {
			t.Fatal(err)
		}
		end, _ := ends.Lookup(topic, 0)
		for next := int64(0); next < end.Offset; {
			fetches := consumer.PollFetches(ctx)
			if err := fetches.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			fetches.EachRecord(func(r *kgo.Record) { n++; next = r.Offset + 1; last = string(r.Value) })
		}
		return n, last
	}
	// The last record of a log is never compacted away, so one follows.
	for i := range 50 {
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte("same"), Value: []byte(strconv.Itoa(i))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for {
		n, last := count()
		if last != "49" {
			t.Fatalf("the last value is %q, want 49", last)
		}
		if n < 50 {
			return
		}
		if ctx.Err() != nil {
			t.Fatal("50 records of one key are still there")
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestWildcardIsRefused(t *testing.T) {
	for _, listen := range []string{":9092", "0.0.0.0:9092", "[::]:9092", "localhost:9092"} {
		if b, err := broker.Start(t.Context(), broker.Config{Listen: listen}); err == nil {
			b.Close()
			t.Errorf("%s is accepted, though clients could not come back to it", listen)
		}
	}
}
