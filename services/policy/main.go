// Command weir-policy reads the rates, decides who is to be dropped or limited,
// and writes leases to the commands topic.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/services/internal/detect/engine"
	"github.com/weir-net/weir/services/internal/kit/config"
	"github.com/weir-net/weir/services/internal/kit/events"
	"github.com/weir-net/weir/services/internal/kit/health"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/replay"
	"github.com/weir-net/weir/services/internal/kit/run"
	"github.com/weir-net/weir/services/policy/internal/desk"
	"github.com/weir-net/weir/services/policy/internal/reload"
)

// version is set by the linker.
var version = "dev"

func main() {
	var cfg Config
	var broker kafka.Config
	s := run.Service{
		Name: "weir-policy", Version: version,
		About: "Reads the rates of every interface and writes leases against floods to the commands topic.\n" +
			"Whether they drop or only count is the mode of each probe, observe at first.",
		Config: []config.Part{{Prefix: "WEIR_POLICY", Into: &cfg}, {Prefix: kafka.Prefix, Into: &broker}},
	}
	s.Build = func(ctx context.Context, log *slog.Logger) ([]run.Component, func(), error) {
		return build(ctx, cfg, &broker, log)
	}
	os.Exit(run.Main(s, os.Args[1:]))
}

func build(ctx context.Context, cfg Config, broker *kafka.Config, log *slog.Logger) ([]run.Component, func(), error) {
	opts, err := broker.Options("weir-policy")
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
	} else if err := kafka.CheckTopics(ctx, client, topics, topics.Rates, topics.Commands, topics.Status, topics.Events, topics.Attacks, topics.Baselines); err != nil {
		return nil, client.Close, err
	}
	publisher := events.New(topics.Events, "policy", config.HostName(), log)
	d := desk.New(engine.New(engine.Options{Rules: cfg.rules, Protected: cfg.protected, WholeHost: cfg.Scope == "host"}))
	d.Topics, d.Options, d.Client, d.Log = topics, opts, client, log
	d.Group, d.Instance, d.Publish, d.RememberEvery = cfg.Group, cfg.Instance, publisher.Publish, cfg.RememberEvery
	commandLog := replay.New(topics.Commands, opts, log)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	watcher := &reload.Watcher{Path: cfg.Rules, Current: cfg.rules, Take: d.SetRules, Publish: publisher.Publish, Signals: hangups}
	server := health.New(cfg.HTTPAddress)
	registerMetrics(server, d, watcher)
	return []run.Component{
		{Name: "health", Run: server.Run},
		{Name: "events", Run: func(ctx context.Context) error { return publisher.Run(ctx, client) }},
		{Name: "commands", Run: func(ctx context.Context) error { return commandLog.Run(ctx, d) }},
		{Name: "status", Run: d.Follow},
		{Name: "rules", Run: watcher.Run},
		{Name: "attacks", Run: d.Attacks},
		{Name: "memory", Run: d.Memory},
		{Name: "rates", Run: d.Decide},
	}, client.Close, nil
}
