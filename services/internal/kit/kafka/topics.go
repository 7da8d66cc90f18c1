package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
)

// CheckTopics reports what is wrong with the named topics: missing, not
// permitted, another partition count or clean-up policy than the contract's, or
// counts and rates, if both are named, with different numbers of partitions. A
// topic that was just created is given 5 s to become usable.
func CheckTopics(ctx context.Context, client *kgo.Client, topics schemas.Topics, names ...string) error {
	deadline := time.Now().Add(5 * time.Second)
	for {
		err := checkTopics(ctx, client, topics, names)
		if err == nil || time.Now().After(deadline) || errors.Is(err, kerr.TopicAuthorizationFailed) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func checkTopics(ctx context.Context, client *kgo.Client, topics schemas.Topics, names []string) error {
	admin := kadm.NewClient(client)
	listed, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return fmt.Errorf("listing topics: %w", err)
	}
	configs, err := admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return fmt.Errorf("describing topics: %w", err)
	}
	want := map[string]schemas.TopicSpec{}
	for _, s := range schemas.Specs(topics, 0, 1) {
		want[s.Name] = s
	}
	var errs []error
	for _, name := range names {
		t := listed[name]
		switch {
		case errors.Is(t.Err, kerr.TopicAuthorizationFailed):
			errs = append(errs, fmt.Errorf("topic %s: this user may not describe it: %w", name, t.Err))
		case t.Err != nil || len(t.Partitions) == 0:
			errs = append(errs, fmt.Errorf("topic %s does not exist: run weir topics apply", name))
		case want[name].Partitions == 1 && len(t.Partitions) != 1:
			errs = append(errs, fmt.Errorf("topic %s has %d partitions, must have 1", name, len(t.Partitions)))
		default:
			errs = append(errs, checkPolicy(configs, want[name]))
		}
	}
	// The table of rates is kept where the counts are read, partition by partition.
	if counts, rates := len(listed[topics.Counts].Partitions), len(listed[topics.Rates].Partitions); counts > 0 && rates > 0 && counts != rates {
		errs = append(errs, fmt.Errorf("topic %s has %d partitions and %s has %d, must have as many: delete the latter, and run weir topics apply --partitions %d",
			topics.Counts, counts, topics.Rates, rates, counts))
	}
	return errors.Join(errs...)
}

func checkPolicy(configs kadm.ResourceConfigs, want schemas.TopicSpec) error {
	c, err := configs.On(want.Name, nil)
	if err != nil || c.Err != nil {
		return nil // describing configurations is a permission of its own; "topics check" tells
	}
	for _, kv := range c.Configs {
		if kv.Key == schemas.ConfigCleanupPolicy && kv.MaybeValue() != want.Configs[kv.Key] {
			return fmt.Errorf("topic %s has %s=%s, must be %s: run weir topics apply", want.Name, kv.Key, kv.MaybeValue(), want.Configs[kv.Key])
		}
	}
	return nil
}

// IsRecreated reports whether err says that a topic is not the one that the
// client knew: deleted, or deleted and made again.
func IsRecreated(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.InconsistentTopicID)
}
