// Package kafka is the connection to the brokers: one configuration for every
// client, and the client options that outages and frozen brokers have taught.
package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-net/weir/schemas"
)

// Prefix is that of the connection's environment variables.
const Prefix = "WEIR_KAFKA"

// Config is the connection, shared by every service.
type Config struct {
	Brokers     []string `default:"127.0.0.1:9092" desc:"bootstrap brokers, host:port each, separated by commas"`
	TopicPrefix string   `split_words:"true" default:"weir." desc:"what topic names start with"`

	TLS              bool   `envconfig:"TLS" default:"false" desc:"encrypt the connection"`
	TLSCAFile        string `envconfig:"TLS_CA_FILE" desc:"PEM file of the authorities to trust; the system's if empty"`
	TLSCertFile      string `envconfig:"TLS_CERT_FILE" desc:"PEM file of the client certificate"`
	TLSKeyFile       string `envconfig:"TLS_KEY_FILE" desc:"PEM file of the client key"`
	SASLMechanism    string `envconfig:"SASL_MECHANISM" desc:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; none if empty"`
	SASLUser         string `envconfig:"SASL_USER" desc:"user name"`
	SASLPassword     string `envconfig:"SASL_PASSWORD" desc:"password"`
	SASLPasswordFile string `envconfig:"SASL_PASSWORD_FILE" desc:"file that holds the password, instead of SASL_PASSWORD"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	if len(c.Brokers) == 0 {
		return errors.New("WEIR_KAFKA_BROKERS is empty")
	}
	for _, b := range c.Brokers {
		if _, _, err := net.SplitHostPort(b); err != nil {
			return fmt.Errorf("WEIR_KAFKA_BROKERS: %q is not host:port", b)
		}
	}
	switch c.SASLMechanism {
	case "", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512":
	default:
		return fmt.Errorf("WEIR_KAFKA_SASL_MECHANISM %q: want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512", c.SASLMechanism)
	}
	if c.SASLMechanism != "" && c.SASLUser == "" {
		return errors.New("WEIR_KAFKA_SASL_USER is empty")
	}
	if !c.TLS && (c.TLSCAFile != "" || c.TLSCertFile != "" || c.TLSKeyFile != "") {
		return errors.New("WEIR_KAFKA_TLS_* is set but WEIR_KAFKA_TLS is not true")
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		return errors.New("WEIR_KAFKA_TLS_CERT_FILE and WEIR_KAFKA_TLS_KEY_FILE go together")
	}
	return nil
}

// Topics returns the topic names.
func (c *Config) Topics() schemas.Topics { return schemas.NewTopics(c.TopicPrefix) }

// TLSConfig returns the TLS configuration, or nil for a plain connection.
func (c *Config) TLSConfig() (*tls.Config, error) {
	if !c.TLS {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLSCAFile != "" {
		pem, err := os.ReadFile(c.TLSCAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", c.TLSCAFile)
		}
	}
	if c.TLSCertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading the client certificate: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// Password returns the SASL password.
func (c *Config) Password() (string, error) {
	if c.SASLPasswordFile == "" {
		return c.SASLPassword, nil
	}
	b, err := os.ReadFile(c.SASLPasswordFile)
	if err != nil {
		return "", fmt.Errorf("reading the password: %w", err)
	}
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return string(b), nil
}

func (c *Config) mechanism() (sasl.Mechanism, error) {
	pass, err := c.Password()
	if err != nil {
		return nil, err
	}
	switch c.SASLMechanism {
	case "PLAIN":
		return plain.Auth{User: c.SASLUser, Pass: pass}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: c.SASLUser, Pass: pass}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: c.SASLUser, Pass: pass}.AsSha512Mechanism(), nil
	}
	return nil, nil
}

// MaxBatchBytes bounds what a fetched batch may decompress to: 20 MiB of zeros
// fit into what a broker accepts in zstd.
const MaxBatchBytes = 16 << 20

// Options returns the options of every franz-go client. Each has its reason:
// the library's defaults turn a leader change into 5 s and a dead connection
// into 20 s.
func (c *Config) Options(client string) ([]kgo.Opt, error) {
	tlsConfig, err := c.TLSConfig()
	if err != nil {
		return nil, err
	}
	mechanism, err := c.mechanism()
	if err != nil {
		return nil, err
	}
	dial := Dialer(3 * time.Second)
	if tlsConfig != nil {
		plainDial := dial
		dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := plainDial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			t := tlsConfig.Clone()
			t.ServerName, _, _ = net.SplitHostPort(address)
			return tls.Client(conn, t), nil
		}
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(client),
		kgo.Dialer(dial),
		kgo.MetadataMinAge(250 * time.Millisecond),
		kgo.RequestTimeoutOverhead(3 * time.Second),
		kgo.ProduceRequestTimeout(3 * time.Second),
		kgo.FetchMaxWait(time.Second),
		kgo.RetryBackoffFn(backoff),
		kgo.MaxDecompressBatchBytes(MaxBatchBytes),
		kgo.ProducerLinger(0),
		kgo.RecordPartitioner(Partitioner()),
	}
	if mechanism != nil {
		opts = append(opts, kgo.SASL(mechanism))
	}
	return opts, nil
}

func backoff(tries int) time.Duration {
	return min(2*time.Second, 250*time.Millisecond<<min(max(tries-1, 0), 3))
}

// Partitioner is the one partition rule as franz-go wants it. A record that has
// its partition set by hand is not asked about.
func Partitioner() kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		return func(r *kgo.Record, n int) int { return int(schemas.Partition(r.Key, int32(n))) }
	})
}

// Dialer returns a dial function whose connections die within seconds when the
// other end falls silent: without it a black hole lasts a minute.
func Dialer(timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{
		Timeout:         timeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 3},
		Control:         boundSilence,
	}
	return d.DialContext
}

// Record returns a record of the named schema with its two headers.
func Record(topic, schema string, key, value []byte) *kgo.Record {
	r := &kgo.Record{Topic: topic, Key: key, Value: value}
	for _, h := range schemas.Headers(schema) {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	return r
}
