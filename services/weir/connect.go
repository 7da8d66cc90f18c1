package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/internal/kit/config"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// connect returns the options of a connection and the topic names, from the
// environment that every service reads; brokers and prefix, if given, override
// it. There is no default broker: a command that a person meant for a cluster
// must not end up elsewhere.
func connect(brokers []string, prefix string) ([]kgo.Opt, schemas.Topics, error) {
	var cfg kafka.Config
	if len(brokers) == 0 && os.Getenv(kafka.Prefix+"_BROKERS") == "" {
		return nil, schemas.Topics{}, errors.New("no brokers: set WEIR_KAFKA_BROKERS or --brokers")
	}
	if err := config.Load(config.Part{Prefix: kafka.Prefix, Into: &cfg}); err != nil {
		return nil, schemas.Topics{}, fmt.Errorf("reading the environment: %w", err)
	}
	if len(brokers) > 0 {
		cfg.Brokers = brokers
	}
	if prefix != "" {
		cfg.TopicPrefix = prefix
	}
	opts, err := cfg.Options("weir-cli")
	if err != nil {
		return nil, schemas.Topics{}, err
	}
	return opts, cfg.Topics(), nil
}

// configHelp describes the environment in -help.
func configHelp() string {
	var b strings.Builder
	b.WriteString("Environment:\n")
	config.Help(&b, config.Part{Prefix: kafka.Prefix, Into: &kafka.Config{}})
	b.WriteString("  WEIR_ISSUER                    who issues commands (user@host)")
	return b.String()
}
