// Package broker is the embedded broker: kfake, franz-go's test double of
// Kafka, as a process of its own with a data directory, so that the demo and
// the tests need no Java and a kill -9 of the broker means what it says.
//
// It is a test double. Where it differs from Apache Kafka (it has one node
// here, accepts null keys on compacted topics and compacts on a timer), the
// same tests also run against the real one.
package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
)

// Config is how the broker runs.
type Config struct {
	Listen       string        // host:port; also the address told to clients, so never a wildcard
	DataDir      string        // where the log is kept; empty means in memory
	Sync         bool          // fsync each batch: survives the machine, not only the process
	CompactEvery time.Duration // kfake compacts on this timer; its own default is an hour
	Topics       bool          // create Weir's topics, which "weir topics apply" does otherwise
	TopicPrefix  string
	Partitions   int32 // of counts and rates; 0 means schemas.DefaultPartitions
	Log          io.Writer
	Verbose      bool
}

// Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	address string
}

// Start listens and serves until Close.
func Start(ctx context.Context, c Config) (*Broker, error) {
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("parsing listen address: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		return nil, fmt.Errorf("listen address %q: want one IP address, since clients are told to come back to it", c.Listen)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return nil, fmt.Errorf("parsing listen port: %w", err)
	}
	if c.CompactEvery <= 0 {
		c.CompactEvery = 5 * time.Second
	}
	level := kfake.LogLevelWarn
	if c.Verbose {
		level = kfake.LogLevelInfo
	}
	if c.Log == nil {
		c.Log = os.Stderr
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.WithLogger(kfake.BasicLogger(c.Log, level)),
		kfake.ListenFn(func(network, _ string) (net.Listener, error) { return net.Listen(network, c.Listen) }),
		kfake.BrokerConfigs(map[string]string{
			"log.cleaner.backoff.ms": strconv.FormatInt(c.CompactEvery.Milliseconds(), 10),
		}),
	}
	if c.DataDir != "" {
		opts = append(opts, kfake.DataDir(c.DataDir))
	}
	if c.Sync {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, fmt.Errorf("starting kfake: %w", err)
	}
	b := &Broker{cluster: cluster, address: cluster.ListenAddrs()[0]}
	if c.Topics {
		if err := CreateTopics(ctx, b.address, c.TopicPrefix, c.Partitions); err != nil {
			b.Close()
			return nil, err
		}
	}
	return b, nil
}

// Address is the host:port that clients use.
func (b *Broker) Address() string { return b.address }

// Close stops serving and writes the state to the data directory.
func (b *Broker) Close() { b.cluster.Close() }

// CreateTopics creates Weir's topics with replication 1 on the broker at
// address; those that exist are left as they are.
func CreateTopics(ctx context.Context, address, prefix string, partitions int32) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(address))
	if err != nil {
		return fmt.Errorf("creating topics: %w", err)
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	var failed []error
	for _, spec := range schemas.Specs(schemas.NewTopics(prefix), partitions, 1) {
		configs := make(map[string]*string, len(spec.Configs))
		for k, v := range spec.Configs {
			configs[k] = &v
		}
		_, err := admin.CreateTopic(ctx, spec.Partitions, spec.Replication, configs, spec.Name)
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			failed = append(failed, fmt.Errorf("creating topic %s: %w", spec.Name, err))
		}
	}
	return errors.Join(failed...)
}
