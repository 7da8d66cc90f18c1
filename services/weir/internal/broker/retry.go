package broker

import (
	"context"
	"errors"
	"time"

	"github.com/weir-net/weir/schemas"
)

// describeNew describes a topic that was just created, once it is usable: other
// brokers learn of it, and it gets its leaders, within a second.
func (c *Client) describeNew(ctx context.Context, topic string) (schemas.TopicSpec, error) {
	deadline := time.Now().Add(5 * time.Second)
	for {
		have, err := c.describe(ctx, topic)
		if err == nil {
			_, err = c.spans(ctx, topic, FromStart())
		}
		if err == nil || time.Now().After(deadline) || !errors.Is(err, ErrNoTopic) && !isTransient(err) {
			return have, err
		}
		select {
		case <-ctx.Done():
			return have, err
		case <-time.After(50 * time.Millisecond):
		}
	}
}
