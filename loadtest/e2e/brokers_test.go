package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kafkaScript starts a real Apache Kafka on this machine's Java.
const kafkaScript = "../../compose/kafka.sh"

// onBothBrokers runs a test on the embedded broker and on a real Apache Kafka.
func onBothBrokers(t *testing.T, test func(t *testing.T, brokers string)) {
	t.Run("embedded", func(t *testing.T) { test(t, "") })
	t.Run("kafka", func(t *testing.T) { test(t, startKafka(t)) })
}

// startKafka starts an empty Kafka and returns its bootstrap address. Without
// Java it skips on a laptop and fails in CI.
func startKafka(t *testing.T) string {
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
	cmd := exec.CommandContext(within(t, 5*time.Minute), script, "start", dir)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("starting Kafka: %v\n%s", err, stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	return lines[len(lines)-1]
}
