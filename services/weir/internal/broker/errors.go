package broker

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// topicError says what is wrong with a topic in words that tell a missing one
// from a missing permission.
func topicError(topic string, err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("%s: %w", topic, ErrNoTopic)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("%s: no permission: %w", topic, err)
	}
	return fmt.Errorf("%s: %w", topic, err)
}

// isTransient reports whether the client goes on by itself.
func isTransient(err error) bool {
	var lost *kgo.ErrDataLoss
	return kerr.IsRetriable(err) || errors.As(err, &lost)
}
