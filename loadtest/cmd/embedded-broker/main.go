// Command embedded-broker serves the Kafka protocol from one process with a
// data directory, for the demo and the tests. It is franz-go's kfake, a test
// double: production runs Apache Kafka.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weir-net/weir/loadtest/broker"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "embedded-broker:", err)
		os.Exit(1)
	}
}

func run() error {
	var c broker.Config
	flag.StringVar(&c.Listen, "listen", env("WEIR_BROKER_LISTEN", "127.0.0.1:9092"), "address to listen on and to tell clients (WEIR_BROKER_LISTEN)")
	flag.StringVar(&c.DataDir, "data", env("WEIR_BROKER_DATA", ""), "directory that keeps the log; empty: in memory (WEIR_BROKER_DATA)")
	flag.BoolVar(&c.Sync, "sync", false, "fsync every batch")
	flag.DurationVar(&c.CompactEvery, "compact-every", 5*time.Second, "how often compacted topics are compacted")
	flag.BoolVar(&c.Topics, "topics", false, "create Weir's topics, as `weir topics apply` does")
	flag.StringVar(&c.TopicPrefix, "prefix", env("WEIR_KAFKA_TOPIC_PREFIX", ""), "prefix of the topics' names (WEIR_KAFKA_TOPIC_PREFIX)")
	flag.BoolVar(&c.Verbose, "v", false, "log more")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := broker.Start(ctx, c)
	if err != nil {
		return err
	}
	fmt.Println("ready", b.Address())
	<-ctx.Done()
	b.Close()
	return nil
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}
