// Package gokakit is the one place that knows goka and sarama. Their defaults
// lose data and sleep for seconds; what is set here, and why, is the product of
// breaking them.
package gokakit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// readTimeout is how long an answer may take that waits for other members.
const readTimeout = 10 * time.Second

// saramaConfig returns the settings of every sarama client. instance is the
// static membership of the consumer group.
func saramaConfig(cfg *kafka.Config, client, instance string) (*sarama.Config, error) {
	c := goka.DefaultConfig()
	c.Version = sarama.V2_8_0_0
	c.ClientID = client
	// A frozen broker then costs a time-out, not the whole freeze.
	c.ApiVersionsRequest = false
	c.Net.Proxy.Enable = true
	dial, err := dialer(cfg)
	if err != nil {
		return nil, err
	}
	c.Net.Proxy.Dialer = newImpatient(dial)
	// session < rebalance < read time-out: a shorter one ends Run in a rebalance.
	// Every other answer is expected within patience.
	c.Net.ReadTimeout = readTimeout
	c.Net.WriteTimeout = patience
	c.Net.MaxOpenRequests = 1
	c.Consumer.Group.Session.Timeout = 6 * time.Second
	c.Consumer.Group.Heartbeat.Interval = 1500 * time.Millisecond
	c.Consumer.Group.Rebalance.Timeout = 8 * time.Second
	c.Consumer.Group.InstanceId = instance
	c.Consumer.Group.Rebalance.Retry.Max = math.MaxInt32
	c.Consumer.Group.Rebalance.Retry.Backoff = 250 * time.Millisecond
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = 250 * time.Millisecond
	c.Consumer.MaxWaitTime = 250 * time.Millisecond
	c.Consumer.Retry.Backoff = 250 * time.Millisecond
	// Per partition, compressed: what has been fetched and waits is most of the memory
	// of an aggregator that is behind.
	c.Consumer.Fetch.Default = 256 << 10
	c.Metadata.Retry.Max = math.MaxInt32
	c.Metadata.Retry.Backoff = 250 * time.Millisecond
	c.Metadata.RefreshFrequency = 30 * time.Second
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Idempotent = true
	c.Producer.Compression = sarama.CompressionZSTD
	c.Producer.CompressionLevel = 1 // the default takes more time for no fewer bytes
	c.Producer.Flush.Frequency = 5 * time.Millisecond
	c.Producer.Flush.Bytes = 0
	// Practically without end: over an hour. sarama allocates a state per
	// partition and retry, so that no end at all would be 64 GiB.
	c.Producer.Retry.Max = 1 << 14
	c.Producer.Retry.Backoff = 250 * time.Millisecond
	c.Producer.Timeout = 3 * time.Second
	if err := secure(c, cfg); err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("checking the sarama configuration: %w", err)
	}
	return c, nil
}

// dialer returns a dial function with TLS, if that is configured: below it nobody
// could see what is asked.
func dialer(cfg *kafka.Config) (func(ctx context.Context, network, address string) (net.Conn, error), error) {
	plain := kafka.Dialer(3 * time.Second)
	config, err := cfg.TLSConfig()
	if err != nil || config == nil {
		return plain, err
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := plain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		mine := config.Clone()
		if mine.ServerName, _, err = net.SplitHostPort(address); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		encrypted := tls.Client(c, mine)
		ctx, stop := context.WithTimeout(ctx, patience)
		defer stop()
		if err := encrypted.HandshakeContext(ctx); err != nil {
			_ = c.Close() // which the handshake may have done
			return nil, fmt.Errorf("encrypting the connection to %s: %w", address, err)
		}
		return encrypted, nil
	}, nil
}

func secure(c *sarama.Config, cfg *kafka.Config) error {
	if cfg.SASLMechanism == "" {
		return nil
	}
	pass, err := cfg.Password()
	if err != nil {
		return err
	}
	c.Net.SASL.Enable = true
	c.Net.SASL.Mechanism = sarama.SASLMechanism(cfg.SASLMechanism)
	c.Net.SASL.User, c.Net.SASL.Password = cfg.SASLUser, pass
	switch cfg.SASLMechanism {
	case sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512:
		c.Net.SASL.SCRAMClientGeneratorFunc = scramClient(cfg.SASLMechanism)
	}
	return nil
}

// replication asks how many copies a topic has: goka refuses our own table if
// it is told another number.
func replication(ctx context.Context, client *kgo.Client, topic string) (int, error) {
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return 0, fmt.Errorf("asking for the replication of %s: %w", topic, err)
	}
	t := topics[topic]
	if t.Err != nil {
		return 0, fmt.Errorf("asking for the replication of %s: %w", topic, t.Err)
	}
	least := 0
	for _, p := range t.Partitions {
		if least == 0 || len(p.Replicas) < least {
			least = len(p.Replicas)
		}
	}
	if least == 0 {
		return 0, errors.New("topic " + topic + " has no partitions: run weir topics apply")
	}
	return least, nil
}
