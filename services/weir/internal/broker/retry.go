package broker

import (
	"context"
	"errors"
	"time"

	"github.com/weir-net/weir/schemas"
)

// describeNew describes a topic that was just created: other brokers learn of
// it within a second.
func (c *Client) describeNew(ctx context.Context, topic string) (schemas.TopicSpec, error) {
	deadline := time.Now().Add(5 * time.Second)
	for {
		have, err := c.describe(ctx, topic)
		if !errors.Is(err, ErrNoTopic) || time.Now().After(deadline) {
			return have, err
		}
		select {
		case <-ctx.Done():
			return have, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
