package gokakit

import (
	"context"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
)

// loopingGroup joins again at once after a rebalance. goka would sleep 5 s each
// time Consume returns, so it does not return until there is a reason to.
type loopingGroup struct{ sarama.ConsumerGroup }

// Consume implements sarama.ConsumerGroup.
func (g loopingGroup) Consume(ctx context.Context, topics []string, handler sarama.ConsumerGroupHandler) error {
	for ctx.Err() == nil {
		if err := g.ConsumerGroup.Consume(ctx, topics, handler); err != nil {
			return err
		}
	}
	return nil
}

func groupBuilder(config *sarama.Config) goka.ConsumerGroupBuilder {
	build := goka.ConsumerGroupBuilderWithConfig(config)
	return func(brokers []string, group, clientID string) (sarama.ConsumerGroup, error) {
		g, err := build(brokers, group, clientID)
		if err != nil {
			return nil, err
		}
		return loopingGroup{g}, nil
	}
}
