// Command weir-ring serves the Onion-Ring: every server, interface and source at
// a glance, live, as a web page.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/services/internal/kit/config"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/run"
	"github.com/weir-net/weir/services/ring/internal/access"
	"github.com/weir-net/weir/services/ring/internal/act"
	"github.com/weir-net/weir/services/ring/internal/api"
	"github.com/weir-net/weir/services/ring/internal/feed"
	"github.com/weir-net/weir/services/ring/internal/live"
	"github.com/weir-net/weir/services/ring/web"
)

// version is set by the build.
var version = "dev"

func main() {
	var cfg Config
	var brokers kafka.Config
	os.Exit(run.Main(run.Service{
		Name:    "weir-ring",
		Version: version,
		About:   "Serves the Onion-Ring: a page that shows every server, interface and source, live.",
		Config:  []config.Part{{Prefix: prefix, Into: &cfg}, {Prefix: kafka.Prefix, Into: &brokers}},
		Build: func(_ context.Context, log *slog.Logger) ([]run.Component, func(), error) {
			return build(&cfg, &brokers, log)
		},
	}, os.Args[1:]))
}

// build is the parts list.
func build(cfg *Config, brokers *kafka.Config, log *slog.Logger) ([]run.Component, func(), error) {
	opts, err := brokers.Options("weir-ring")
	if err != nil {
		return nil, nil, err
	}
	topics := brokers.Topics()
	hub := live.New(cfg.Interfaces, cfg.Browsers, time.Now)
	reader := &feed.Feed{Topics: topics, Options: opts, Picture: hub, Log: log}
	server := &api.Server{
		Hub: hub, Gate: access.New(cfg.rules, time.Now), Files: web.Files, Log: log,
		Version: version, Scale: cfg.Scale, Extra: observed(hub),
	}
	closeAll := func() {}
	if cfg.Act {
		client, err := kgo.NewClient(opts...)
		if err != nil {
			return nil, nil, fmt.Errorf("configuring the Kafka client: %w", err)
		}
		closeAll = client.Close
		server.Doer = &act.Actor{
			Writer: &feed.Writer{Client: client, Topic: topics.Commands}, Picture: hub,
			Topic: topics.Commands, Wait: 5 * time.Second, Poll: 10 * time.Millisecond,
		}
	}
	return []run.Component{
		{Name: "hub", Run: hub.Run},
		{Name: "commands", Run: reader.RunCommands},
		{Name: "feed", Run: reader.Run},
		{Name: "http", Run: listener(cfg, server.Handler(), log)},
	}, closeAll, nil
}
