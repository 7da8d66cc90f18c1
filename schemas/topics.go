package schemas

import "time"

// DefaultPrefix starts every topic's name unless configured otherwise.
const DefaultPrefix = "weir."

// DefaultPartitions is P, the fixed partition count of counts and rates.
const DefaultPartitions = 12

// Topics are the names of all topics under one prefix.
type Topics struct {
	Counts, Rates, Commands, Status, Events, Attacks, Baselines string
}

// NewTopics returns the topic names under prefix (DefaultPrefix if empty).
func NewTopics(prefix string) Topics {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	return Topics{
		Counts:    prefix + "counts.v1",
		Rates:     prefix + "rates.v1",
		Commands:  prefix + "commands.v1",
		Status:    prefix + "status.v1",
		Events:    prefix + "events.v1",
		Attacks:   prefix + "attacks.v1",
		Baselines: prefix + "baselines.v1",
	}
}

// TopicSpec is how a topic must be: what "topics apply" creates and what every
// service checks at its start.
type TopicSpec struct {
	Name        string
	Partitions  int32
	Replication int16             // 3, or 1 on a single broker
	Configs     map[string]string // topic configuration, Kafka's own names
	Writers     string            // for people
	Readers     string
}

// Ages and delays after which an interface's table entry changes.
const (
	StaleAfter  = 15 * time.Second
	DeleteAfter = 10 * time.Minute
)
