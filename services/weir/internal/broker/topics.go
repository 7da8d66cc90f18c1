package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/weir-net/weir/schemas"
)

// TopicState is one topic beside the contract.
type TopicState struct {
	Name    string   `json:"name"`
	Missing bool     `json:"missing,omitempty"`
	Created bool     `json:"created,omitempty"`
	Changed []string `json:"changed,omitempty"` // configurations set by Apply
	Diff    []string `json:"diff,omitempty"`    // what differs from the contract, after Apply
}

// OK reports whether the topic is as it must be.
func (s TopicState) OK() bool { return !s.Missing && len(s.Diff) == 0 }

// CheckTopics compares the broker's topics with specs.
func (c *Client) CheckTopics(ctx context.Context, specs []schemas.TopicSpec) ([]TopicState, error) {
	out := make([]TopicState, 0, len(specs))
	for _, spec := range specs {
		have, err := c.describe(ctx, spec.Name)
		state := TopicState{Name: spec.Name}
		switch {
		case errors.Is(err, ErrNoTopic):
			state.Missing = true
		case err != nil:
			return nil, err
		default:
			state.Diff = schemas.Diff(spec, have)
		}
		out = append(out, state)
	}
	return out, nil
}

// ApplyTopics creates what is missing and sets the configurations that differ.
// Partitions and replication of a topic that exists are left alone, since
// changing them moves keys or data: they stay in Diff.
func (c *Client) ApplyTopics(ctx context.Context, specs []schemas.TopicSpec) ([]TopicState, error) {
	out := make([]TopicState, 0, len(specs))
	for _, spec := range specs {
		state, err := c.applyTopic(ctx, spec)
		if err != nil {
			return out, err
		}
		out = append(out, state)
	}
	return out, nil
}

func (c *Client) applyTopic(ctx context.Context, spec schemas.TopicSpec) (TopicState, error) {
	state := TopicState{Name: spec.Name}
	have, err := c.describe(ctx, spec.Name)
	if errors.Is(err, ErrNoTopic) {
		if err := c.create(ctx, spec); err != nil {
			return state, err
		}
		state.Created = true
		have, err = c.describeNew(ctx, spec.Name)
	}
	if err != nil {
		return state, err
	}
	var alter []kadm.AlterConfig
	for name, value := range spec.Configs {
		one := schemas.TopicSpec{Name: spec.Name, Partitions: have.Partitions, Replication: have.Replication, Configs: map[string]string{name: value}}
		if len(schemas.Diff(one, have)) > 0 {
			alter = append(alter, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: kadm.StringPtr(value)})
			state.Changed = append(state.Changed, fmt.Sprintf("%s: %s → %s", name, orUnset(have.Configs[name]), value))
		}
	}
	if len(alter) > 0 {
		responses, err := c.admin.AlterTopicConfigs(ctx, alter, spec.Name)
		if err == nil {
			var r kadm.AlterConfigsResponse
			if r, err = responses.On(spec.Name, nil); err == nil {
				err = r.Err
			}
		}
		if err != nil {
			return state, fmt.Errorf("configuring %s: %w", spec.Name, err)
		}
		if have, err = c.describe(ctx, spec.Name); err != nil {
			return state, err
		}
	}
	state.Diff = schemas.Diff(spec, have)
	return state, nil
}

func orUnset(s string) string {
	if s == "" {
		return "unset"
	}
	return s
}

func (c *Client) create(ctx context.Context, spec schemas.TopicSpec) error {
	configs := make(map[string]*string, len(spec.Configs))
	for name, value := range spec.Configs {
		configs[name] = kadm.StringPtr(value)
	}
	_, err := c.admin.CreateTopic(ctx, spec.Partitions, spec.Replication, configs, spec.Name)
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("creating %s: %w", spec.Name, err)
	}
	return nil
}

// describe returns the topic as it is.
func (c *Client) describe(ctx context.Context, topic string) (schemas.TopicSpec, error) {
	details, err := c.admin.ListTopicsWithInternal(ctx, topic)
	if err != nil {
		return schemas.TopicSpec{}, fmt.Errorf("describing %s: %w", topic, err)
	}
	d := details[topic]
	if d.Err != nil {
		return schemas.TopicSpec{}, topicError(topic, d.Err)
	}
	if len(d.Partitions) == 0 {
		return schemas.TopicSpec{}, topicError(topic, ErrNoTopic)
	}
	have := schemas.TopicSpec{
		Name: topic, Partitions: int32(len(d.Partitions)), Replication: int16(d.Partitions.NumReplicas()),
		Configs: make(map[string]string),
	}
	configs, err := c.admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return schemas.TopicSpec{}, fmt.Errorf("describing %s: %w", topic, err)
	}
	r, err := configs.On(topic, nil)
	if err == nil {
		err = r.Err
	}
	if err != nil {
		return schemas.TopicSpec{}, topicError(topic, err)
	}
	for _, config := range r.Configs {
		if config.Value != nil {
			have.Configs[config.Key] = *config.Value
		}
	}
	return have, nil
}

// Brokers returns how many brokers there are.
func (c *Client) Brokers(ctx context.Context) (int, error) {
	m, err := c.admin.BrokerMetadata(ctx)
	if err != nil {
		return 0, fmt.Errorf("asking for the brokers: %w", err)
	}
	return len(m.Brokers), nil
}
