package cli

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
)

// kcat runs kcat against the lab's broker. Where it is not installed the test
// is skipped, in CI it fails.
func (l *lab) kcat(stdin string, args ...string) string {
	l.t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		if os.Getenv("CI") == "true" {
			l.t.Fatal("kcat is not installed")
		}
		l.t.Skip("kcat is not installed")
	}
	cmd := exec.CommandContext(l.t.Context(), path, append([]string{"-b", strings.Join(l.brokers, ",")}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		l.t.Fatalf("kcat %q: %v\n%s", args, err, errOut.String())
	}
	return out.String()
}

// partitionsOf reads where each key of the counts topic went.
func (l *lab) partitionsOf(topic string, want int) map[string]int32 {
	l.t.Helper()
	out := map[string]int32{}
	for _, r := range l.records(topic) {
		out[string(r.Key)] = r.Partition
	}
	if len(out) != want {
		l.t.Fatalf("%d keys on %s, want %d", len(out), topic, want)
	}
	return out
}

func comparePartitions(t *testing.T, who string, got map[string]int32, vectors []schemas.PartitionVector) {
	t.Helper()
	for _, v := range vectors {
		if p, ok := got[v.Key]; !ok || p != v.Partition12 {
			t.Errorf("%s puts %q on partition %d, Java on %d", who, v.Key, p, v.Partition12)
		}
	}
}

// TestKcatAgreesOnPartitions: murmur2_random, and only that, spreads keys as
// Java does.
func TestKcatAgreesOnPartitions(t *testing.T) {
	l := newLab(t)
	vectors, err := schemas.PartitionVectors()
	if err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	for _, v := range vectors {
		lines.WriteString(v.Key + "\tx\n")
	}
	l.kcat(lines.String(), "-P", "-t", l.topics.Counts, "-K", "\t", "-X", "topic.partitioner=murmur2_random")
	comparePartitions(t, "kcat with murmur2_random", l.partitionsOf(l.topics.Counts, len(vectors)), vectors)

	l.kcat(lines.String(), "-P", "-t", l.topics.Rates, "-K", "\t")
	other := 0
	got := l.partitionsOf(l.topics.Rates, len(vectors))
	for _, v := range vectors {
		if got[v.Key] != v.Partition12 {
			other++
		}
	}
	if other == 0 {
		t.Error("kcat's default agrees as well: the vectors prove nothing")
	}
}

// TestFranzAgreesOnPartitions: franz-go's default for keys is the same rule.
func TestFranzAgreesOnPartitions(t *testing.T) {
	l := newLab(t)
	vectors, err := schemas.PartitionVectors()
	if err != nil {
		t.Fatal(err)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(l.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var records []*kgo.Record
	for _, v := range vectors {
		records = append(records, &kgo.Record{Topic: l.topics.Counts, Key: []byte(v.Key)})
	}
	if err := c.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	comparePartitions(t, "franz-go", l.partitionsOf(l.topics.Counts, len(vectors)), vectors)
}

// TestKcatAlone: a person blocks and releases with kcat, and the CLI sees it;
// what the CLI writes, kcat reads.
func TestKcatAlone(t *testing.T) {
	l := newLab(t)
	l.kcat("*|203.0.113.7/32|bob\t{\"action\":\"drop\"}\n", "-P", "-t", l.topics.Commands, "-K", "\t")
	var out []listed
	l.run("list", "-o", "json").into(t, &out)
	if len(out) != 1 || out[0].Issuer != "bob" || out[0].RemainingSeconds == nil || *out[0].RemainingSeconds > 600 {
		t.Fatalf("list: %+v", out)
	}
	l.run("block", "203.0.113.8", "--reason", "x > 5", "--no-wait")
	lines := l.kcat("", "-C", "-t", l.topics.Commands, "-e", "-q", "-K", "\t")
	want := "*|203.0.113.8/32|alice\t" + `{"v":1,"action":"drop","match":{"source":"203.0.113.8/32"},"ttl":"10m","issuer":"alice","reason":"x > 5"}` + "\n"
	if !strings.HasSuffix(lines, want) {
		t.Errorf("kcat reads %q, want %q at the end", lines, want)
	}
	// With -Z an empty value is a tombstone; without, it releases all the same.
	l.kcat("*|203.0.113.7/32|bob\t\n", "-P", "-t", l.topics.Commands, "-K", "\t", "-Z")
	l.kcat("*|203.0.113.8/32|alice\t\n", "-P", "-t", l.topics.Commands, "-K", "\t")
	l.run("list", "-o", "json").into(t, &out)
	if len(out) != 0 {
		t.Errorf("after releasing: %+v", out)
	}
}
