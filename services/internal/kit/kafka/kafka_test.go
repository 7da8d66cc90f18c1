package kafka_test

import (
	"context"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/testkit"
)

// TestPartitionsAreJavas produces keys and holds the partitions that the client
// chose against vectors that Apache Kafka's own client wrote.
func TestPartitionsAreJavas(t *testing.T) {
	vectors, err := schemas.PartitionVectors()
	if err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 1000 {
		t.Fatalf("%d vectors", len(vectors))
	}
	_, cfg := testkit.Double(t)
	client := testkit.Client(t, cfg)
	for _, v := range vectors {
		r := kafka.Record(cfg.Topics().Counts, schemas.SchemaCounts, []byte(v.Key), []byte("x"))
		if err := client.ProduceSync(context.Background(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if want := schemas.Partition([]byte(v.Key), schemas.DefaultPartitions); r.Partition != want {
			t.Fatalf("key %q went to partition %d, want %d", v.Key, r.Partition, want)
		}
	}
}

func TestCheckTopicsSaysWhatIsWrong(t *testing.T) {
	_, cfg := testkit.Double(t)
	client, topics := testkit.Client(t, cfg), cfg.Topics()
	ctx := context.Background()
	if err := kafka.CheckTopics(ctx, client, topics, topics.Counts, topics.Rates, topics.Commands, topics.Status, topics.Events); err != nil {
		t.Errorf("topics as the contract has them: %v", err)
	}
	other := schemas.NewTopics("other.")
	policy := "delete"
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 3, 1, map[string]*string{"cleanup.policy": &policy}, other.Commands); err != nil {
		t.Fatal(err)
	}
	for topic, partitions := range map[string]int32{other.Counts: 6, other.Rates: 12} {
		if _, err := kadm.NewClient(client).CreateTopic(ctx, partitions, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	err := kafka.CheckTopics(ctx, client, other, other.Counts, other.Rates)
	if err == nil || !strings.Contains(err.Error(), "other.counts.v1 has 6 partitions and other.rates.v1 has 12") {
		t.Errorf("counts and rates with different numbers of partitions: %v", err)
	}
	err = kafka.CheckTopics(ctx, client, other, other.Commands, other.Status)
	if err == nil || !strings.Contains(err.Error(), "has 3 partitions, must have 1") || !strings.Contains(err.Error(), "other.status.v1 does not exist") {
		t.Errorf("error %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		cfg  kafka.Config
		want string
	}{
		{kafka.Config{}, "BROKERS is empty"},
		{kafka.Config{Brokers: []string{"nowhere"}}, "not host:port"},
		{kafka.Config{Brokers: []string{"a:1"}, SASLMechanism: "MAGIC"}, "want PLAIN"},
		{kafka.Config{Brokers: []string{"a:1"}, SASLMechanism: "PLAIN"}, "SASL_USER is empty"},
		{kafka.Config{Brokers: []string{"a:1"}, TLSCAFile: "x"}, "WEIR_KAFKA_TLS is not true"},
		{kafka.Config{Brokers: []string{"a:1"}, TLS: true, TLSKeyFile: "x"}, "go together"},
	} {
		if err := c.cfg.Validate(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: error %v, want %q", c.cfg, err, c.want)
		}
	}
}
