// Package testkit starts brokers for tests: kfake in the test's process, which
// is a double and called so, and a real Apache Kafka.
package testkit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Double starts a kfake cluster with Weir's topics.
func Double(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, *kafka.Config) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cfg := &kafka.Config{Brokers: c.ListenAddrs()}
	ApplyTopics(t, cfg)
	return c, cfg
}

// Kafka starts a real Apache Kafka through compose/kafka.sh. Without Java the
// test is skipped, but under CI=true it fails.
func Kafka(t testing.TB) *kafka.Config {
	t.Helper()
	if _, err := exec.LookPath("java"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("a real Kafka needs Java")
		}
		t.Skip("a real Kafka needs Java")
	}
	script := script(t)
	dir := t.TempDir()
	cmd := exec.Command(script, "start", dir)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	t.Cleanup(func() {
		if b, err := exec.Command(script, "stop", dir).CombinedOutput(); err != nil {
			t.Errorf("stopping Kafka: %v\n%s", err, b)
		}
	})
	if err := cmd.Run(); err != nil {
		t.Fatalf("starting Kafka: %v\n%s%s", err, out.String(), errOut.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	cfg := &kafka.Config{Brokers: strings.Split(lines[len(lines)-1], ",")}
	ApplyTopics(t, cfg)
	return cfg
}

func script(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		p := filepath.Join(dir, "compose", "kafka.sh")
		if _, err := os.Stat(p); err == nil {
			return p
		}
	}
	t.Fatal("compose/kafka.sh is not above the test's directory")
	return ""
}

// Client returns a client of the brokers that closes with the test.
func Client(t testing.TB, cfg *kafka.Config, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	base, err := cfg.Options("test")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(base, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// ApplyTopics creates Weir's topics as the contract has them.
func ApplyTopics(t testing.TB, cfg *kafka.Config) {
	t.Helper()
	for _, s := range schemas.Specs(cfg.Topics(), 0, 1) {
		create(t, cfg, s)
	}
}

// Recreate deletes one of Weir's topics and creates it again: it is another
// topic then, under the same name.
func Recreate(t testing.TB, cfg *kafka.Config, topic string) {
	t.Helper()
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	if _, err := kadm.NewClient(Client(t, cfg)).DeleteTopic(ctx, topic); err != nil {
		t.Fatalf("deleting %s: %v", topic, err)
	}
	for _, s := range schemas.Specs(cfg.Topics(), 0, 1) {
		if s.Name == topic {
			create(t, cfg, s)
			return
		}
	}
	t.Fatalf("%s is none of Weir's topics", topic)
}

// create waits for a topic that is just being deleted.
func create(t testing.TB, cfg *kafka.Config, s schemas.TopicSpec) {
	t.Helper()
	admin := kadm.NewClient(Client(t, cfg))
	ctx, stop := context.WithTimeout(context.Background(), 20*time.Second)
	defer stop()
	configs := map[string]*string{}
	for k, v := range s.Configs {
		configs[k] = &v
	}
	Eventually(t, 20*time.Second, "creating "+s.Name, func() bool {
		_, err := admin.CreateTopic(ctx, s.Partitions, s.Replication, configs, s.Name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			t.Fatalf("creating %s: %v", s.Name, err)
		}
		return err == nil
	})
}

// Eventually polls until ok, or fails the test after limit.
func Eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
