package main

import (
	"errors"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
)

func connect(brokers []string, prefix string) ([]kgo.Opt, schemas.Topics, error) {
	if len(brokers) == 0 {
		env := os.Getenv("WEIR_KAFKA_BROKERS")
		if env == "" {
			return nil, schemas.Topics{}, errors.New("no brokers: set WEIR_KAFKA_BROKERS or --brokers")
		}
		brokers = strings.Split(env, ",")
	}
	if prefix == "" {
		prefix = os.Getenv("WEIR_KAFKA_TOPIC_PREFIX")
	}
	return []kgo.Opt{kgo.SeedBrokers(brokers...)}, schemas.NewTopics(prefix), nil
}

func configHelp() string { return "" }
