// Command weir-aggregator turns the counts of every probe into rates per
// interface, in a table that anyone may read.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/aggregator/internal/graph"
	"github.com/weir-net/weir/services/internal/gokakit"
	"github.com/weir-net/weir/services/internal/kit/config"
	"github.com/weir-net/weir/services/internal/kit/events"
	"github.com/weir-net/weir/services/internal/kit/health"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/run"
)

// version is set by the linker.
var version = "dev"

func main() {
	var cfg Config
	var broker kafka.Config
	s := run.Service{
		Name: "weir-aggregator", Version: version,
		About:  "Turns the counts of every probe into rates per interface: the table weir.rates.v1.",
		Config: []config.Part{{Prefix: "WEIR_AGGREGATOR", Into: &cfg}, {Prefix: kafka.Prefix, Into: &broker}},
	}
	s.Build = func(ctx context.Context, log *slog.Logger) ([]run.Component, func(), error) {
		return build(ctx, cfg, &broker, log)
	}
	os.Exit(run.Main(s, os.Args[1:]))
}

func build(ctx context.Context, cfg Config, broker *kafka.Config, log *slog.Logger) ([]run.Component, func(), error) {
	gokakit.TableIsGroup()
	opts, err := broker.Options("weir-aggregator")
	if err != nil {
		return nil, nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	topics := broker.Topics()
	if err := client.Ping(ctx); err != nil {
		log.Warn("no broker answers yet", "error", err)
	} else if err := kafka.CheckTopics(ctx, client, topics, topics.Counts, topics.Rates, topics.Events); err != nil {
		return nil, client.Close, err
	}
	publisher := events.New(topics.Events, "aggregator", config.HostName(), log)
	stream := graph.New(topics, publisher.Publish, log)
	supervisor := gokakit.NewSupervisor(gokakit.Options{
		Kafka: broker, Client: client, ClientID: "weir-aggregator", Instance: cfg.Instance,
		Graph: stream.Graph(), Table: topics.Rates, Schema: schemas.SchemaRates, Log: log,
		Assigned: stream.Keep,
	})
	server := health.New(cfg.HTTPAddress)
	registerMetrics(server, stream, supervisor)
	return []run.Component{
		{Name: "health", Run: server.Run},
		{Name: "events", Run: func(ctx context.Context) error { return publisher.Run(ctx, client) }},
		{Name: "processor", Run: supervisor.Run},
		{Name: "clock", Run: func(ctx context.Context) error { return stream.Tick(ctx, supervisor) }},
	}, client.Close, nil
}
