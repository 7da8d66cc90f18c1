package main

import (
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
)

func connect(brokers []string, prefix string) ([]kgo.Opt, schemas.Topics, error) {
	if len(brokers) == 0 {
		brokers = strings.Split(os.Getenv("WEIR_KAFKA_BROKERS"), ",")
	}
	if prefix == "" {
		prefix = os.Getenv("WEIR_KAFKA_TOPIC_PREFIX")
	}
	return []kgo.Opt{kgo.SeedBrokers(brokers...)}, schemas.NewTopics(prefix), nil
}

func configHelp() string { return "" }
