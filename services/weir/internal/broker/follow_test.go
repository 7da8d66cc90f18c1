package broker

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-net/weir/schemas"
)

// A record that arrives while Follow asks where to begin is read all the same.
func TestFollowMissesNothingWhileItAsks(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "small"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	opts := []kgo.Opt{kgo.SeedBrokers(cluster.ListenAddrs()...)}
	c, err := Open(t.Context(), opts, schemas.NewTopics(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	producer, err := kgo.NewClient(opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(producer.Close)
	// The first question by time is answered: there is nothing. Before the next one
	// a record arrives.
	asked, wrote := false, false
	cluster.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		byTime := request.(*kmsg.ListOffsetsRequest).Topics[0].Partitions[0].Timestamp > 0
		if asked && !byTime && !wrote {
			wrote = true
			cluster.SleepControl(func() {
				if err := producer.ProduceSync(t.Context(), &kgo.Record{Topic: "small", Value: []byte("x")}).FirstErr(); err != nil {
					t.Error(err)
				}
			})
		}
		asked = asked || byTime
		return nil, nil, false
	})
	var got []byte
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err = c.Follow(ctx, "small", Since(time.Now().Add(-time.Minute)), func(r *kgo.Record) bool {
		got = r.Value
		return false
	}, nil)
	if err != nil || string(got) != "x" || !wrote {
		t.Errorf("read %q, wrote %v: %v", got, wrote, err)
	}
}
