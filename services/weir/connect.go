package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
)

// The environment variables of the connection, as in every service.
const (
	envPrefix      = "WEIR_KAFKA_"
	envBrokers     = envPrefix + "BROKERS"
	envTopicPrefix = envPrefix + "TOPIC_PREFIX"
)

// connect returns the options of a connection and the topic names. A dead
// broker is given up within seconds: a person waits.
func connect(brokers []string, prefix string) ([]kgo.Opt, schemas.Topics, error) {
	if err := refuseUnknown(os.Environ()); err != nil {
		return nil, schemas.Topics{}, err
	}
	if len(brokers) == 0 {
		env := os.Getenv(envBrokers)
		if env == "" {
			return nil, schemas.Topics{}, errors.New("no brokers: set " + envBrokers + " or --brokers")
		}
		brokers = strings.Split(env, ",")
	}
	if prefix == "" {
		prefix = os.Getenv(envTopicPrefix)
	}
	return []kgo.Opt{
		kgo.SeedBrokers(brokers...),
		kgo.ClientID("weir-cli"),
		kgo.DialTimeout(3 * time.Second),
		kgo.RequestTimeoutOverhead(3 * time.Second),
		kgo.ProduceRequestTimeout(3 * time.Second),
		kgo.FetchMaxWait(time.Second),
	}, schemas.NewTopics(prefix), nil
}

// refuseUnknown keeps a misspelt variable, or one of TLS and SASL that this
// program cannot honour, from being ignored: that would send in the clear what
// was meant to be secret.
func refuseUnknown(environ []string) error {
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, envPrefix) && name != envBrokers && name != envTopicPrefix {
			return fmt.Errorf("%s is not supported, only %s and %s are", name, envBrokers, envTopicPrefix)
		}
	}
	return nil
}

// configHelp describes the environment in -help.
func configHelp() string {
	return `Environment:
  WEIR_KAFKA_BROKERS       brokers, host:port each, separated by commas
  WEIR_KAFKA_TOPIC_PREFIX  what topic names start with (weir.)
  WEIR_ISSUER              who issues commands (user@host)`
}
