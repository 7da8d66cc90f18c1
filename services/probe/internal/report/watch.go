package report

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Watch reads the status topic for records of our own name until ctx ends.
func (r *Reporter) Watch(ctx context.Context) error {
	for ctx.Err() == nil {
		err := r.watch(ctx)
		if ctx.Err() != nil {
			break
		}
		r.Log.Warn("watching the status topic", "error", err)
		r.mu.Lock()
		// A name that nobody can look up must not stop the counts. When no
		// broker answers they wait anyway.
		r.name.blind = kafka.IsRecreated(err) || errors.Is(err, kerr.TopicAuthorizationFailed)
		r.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// watch reads from where a holder of the name must have written since, if it
// lives.
func (r *Reporter) watch(ctx context.Context) error {
	r.mu.Lock()
	r.name.restart()
	r.mu.Unlock()
	client, err := kgo.NewClient(append(append([]kgo.Opt{}, r.Kafka...), kgo.WithHooks(r.reach))...)
	if err != nil {
		return fmt.Errorf("configuring the Kafka client: %w", err)
	}
	defer client.Close()
	from, end, err := r.bounds(ctx, client)
	if err != nil {
		return err
	}
	client.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.Topic: {0: kgo.NewOffset().At(from)}})
	for next := from; ; {
		if next >= end {
			r.known()
		}
		fetches, err := r.poll(ctx, client)
		if err != nil {
			return err
		}
		for _, k := range fetches.Records() {
			if err := r.see(k, k.Offset >= end); err != nil {
				return err
			}
			next = k.Offset + 1
		}
		if len(fetches) == 0 {
			next = end // compaction has left nothing there
		}
	}
}

// poll returns nothing if nothing comes for a while though brokers answer.
func (r *Reporter) poll(ctx context.Context, client *kgo.Client) (kgo.Fetches, error) {
	for {
		limited, stop := context.WithTimeout(ctx, 2*time.Second)
		fetches := client.PollFetches(limited)
		ended := limited.Err() != nil
		stop()
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case ended && fetches.NumRecords() == 0 && r.reach.Within(2*time.Second):
			return nil, nil
		case ended && fetches.NumRecords() == 0:
			continue
		}
		return fetches, fetches.Err()
	}
}

// bounds returns the offset to read from, and the one where what is written
// from now on begins.
func (r *Reporter) bounds(ctx context.Context, client *kgo.Client) (from, end int64, err error) {
	ctx, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, r.Topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the end of %s: %w", r.Topic, err)
	}
	starts, err := admin.ListOffsetsAfterMilli(ctx, time.Now().Add(-r.Skew()-silence).UnixMilli(), r.Topic)
	if err == nil {
		err = starts.Error()
	}
	if err != nil {
		return 0, 0, fmt.Errorf("asking for the last records of %s: %w", r.Topic, err)
	}
	start, ok := starts.Lookup(r.Topic, 0)
	last, ok2 := ends.Lookup(r.Topic, 0)
	if !ok || !ok2 {
		return 0, 0, fmt.Errorf("topic %s has no partition 0: %w", r.Topic, kerr.UnknownTopicOrPartition)
	}
	return start.Offset, last.Offset, nil
}

// known notes that the topic has been read to where it ended.
func (r *Reporter) known() {
	r.mu.Lock()
	first := !r.name.caught
	r.name.caught, r.name.blind = true, false
	r.mu.Unlock()
	if first {
		select {
		case r.caught <- struct{}{}:
		default:
		}
	}
}
