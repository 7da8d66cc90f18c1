package e2e_test

import (
	"bytes"
	"context"
	"fmt"
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
)

// kafkaScript starts a real Apache Kafka on this machine's Java.
const kafkaScript = "../../compose/kafka.sh"

// onBothBrokers runs a test on the embedded broker and on a real Apache Kafka.
func onBothBrokers(t *testing.T, test func(t *testing.T, brokers string)) {
	t.Run("embedded", func(t *testing.T) { test(t, "") })
	t.Run("kafka", func(t *testing.T) { test(t, startKafka(t)) })
}

// startKafka starts an empty Kafka and returns its bootstrap address.
func startKafka(t *testing.T) string {
	t.Helper()
	return startCluster(t, 1).brokers
}

// cluster is a real Apache Kafka of one or more brokers.
type cluster struct {
	script, dir string
	brokers     string // bootstrap addresses, separated by commas
}

// kill ends broker n, from 1, as a power failure would.
func (c *cluster) kill(t *testing.T, n int) { c.do(t, "kill", n) }

// restart starts broker n again.
func (c *cluster) restart(t *testing.T, n int) { c.do(t, "restart", n) }

// freeze stops broker n without ending it, as a host that hangs would: its
// connections stay open and nothing answers. The result lets it go on.
func (c *cluster) freeze(t *testing.T, n int) (thaw func()) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, strconv.Itoa(n), "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	thaw = func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
	t.Cleanup(thaw)
	return thaw
}

// whole waits until every broker has every record: until then the loss of
// another one rightly stops writing.
func (c *cluster) whole(t *testing.T) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(c.brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	eventually(t, time.Minute, "all replicas are in sync", func() error {
		topics, err := kadm.NewClient(client).ListTopicsWithInternal(within(t, 10*time.Second))
		if err != nil {
			return err
		}
		for _, topic := range topics {
			for _, p := range topic.Partitions {
				if len(p.ISR) < len(p.Replicas) {
					return fmt.Errorf("%s/%d has replicas %v, in sync are %v", topic.Topic, p.Partition, p.Replicas, p.ISR)
				}
			}
		}
		return nil
	})
}

func (c *cluster) do(t *testing.T, verb string, n int) {
	t.Helper()
	if out, err := exec.CommandContext(within(t, 3*time.Minute), c.script, verb, c.dir, strconv.Itoa(n)).CombinedOutput(); err != nil {
		t.Fatalf("kafka.sh %s: %v\n%s", verb, err, out)
	}
}

// startCluster starts brokers that know of no topic. Without Java it skips on a
// laptop and fails in CI.
func startCluster(t *testing.T, brokers int) *cluster {
	t.Helper()
	bin(t) // skip first where nothing runs anyway
	if _, err := exec.LookPath("java"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs java for Apache Kafka")
		}
		t.Skip("needs java for Apache Kafka")
	}
	script, err := filepath.Abs(kafkaScript)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "weir-kafka-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
		defer stop()
		if out, err := exec.CommandContext(ctx, script, "stop", dir).CombinedOutput(); err != nil {
			t.Errorf("stopping Kafka: %v\n%s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(within(t, 5*time.Minute), script, "start", dir, "--brokers", strconv.Itoa(brokers))
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("starting Kafka: %v\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	return &cluster{script: script, dir: dir, brokers: lines[len(lines)-1]}
}
