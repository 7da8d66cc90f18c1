// Command weir-probe counts what arrives at the interfaces of this host, by
// source, and drops what leases order. It needs root, or CAP_BPF, CAP_NET_ADMIN
// and CAP_PERFMON.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/kit/config"
	"github.com/weir-net/weir/services/internal/kit/events"
	"github.com/weir-net/weir/services/internal/kit/health"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/replay"
	"github.com/weir-net/weir/services/internal/kit/run"
	"github.com/weir-net/weir/services/probe/internal/drain"
	"github.com/weir-net/weir/services/probe/internal/filter"
	"github.com/weir-net/weir/services/probe/internal/interfaces"
	"github.com/weir-net/weir/services/probe/internal/report"
)

// version is set by the linker.
var version = "dev"

func main() {
	var cfg Config
	var broker kafka.Config
	s := run.Service{
		Name: "weir-probe", Version: version,
		About: "Counts packets per source at the interfaces of this host and enforces leases in XDP.\n" +
			"The filter outlives the probe; weir-probe -remove takes it off and forgets its state.",
		Config: []config.Part{{Prefix: "WEIR_PROBE", Into: &cfg}, {Prefix: kafka.Prefix, Into: &broker}},
	}
	if len(os.Args) == 2 && os.Args[1] == "-remove" {
		os.Exit(remove(s, &cfg))
	}
	s.Build = func(ctx context.Context, log *slog.Logger) ([]run.Component, func(), error) {
		return build(cfg, &broker, log)
	}
	os.Exit(run.Main(s, os.Args[1:]))
}

func build(cfg Config, broker *kafka.Config, log *slog.Logger) ([]run.Component, func(), error) {
	unlock, err := lockPins(cfg.PinPath)
	if err != nil {
		return nil, nil, err
	}
	boot := bootID()
	dp, err := xdp.Open(datapathConfig(cfg, boot))
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%w; this takes root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: weir doctor says what is missing", err)
	}
	if err != nil {
		return nil, unlock, fmt.Errorf("opening the data plane: %w", err)
	}
	closeAll := []func(){unlock, func() { dp.Close() }}
	shut := func() {
		for i := len(closeAll) - 1; i >= 0; i-- {
			closeAll[i]()
		}
	}
	host := &machine{brokers: broker.Brokers, protected: cfg.protected, connected: brokersSeen{}}
	opts, err := broker.Options("weir-probe")
	if err != nil {
		return nil, shut, err
	}
	opts = append(opts, kgo.WithHooks(host))
	countsClient, err := kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.ProducerBatchCompression(kgo.Lz4Compression()))...)
	if err != nil {
		return nil, shut, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	closeAll = append(closeAll, countsClient.Close)
	client, err := kgo.NewClient(append(opts[:len(opts):len(opts)], kgo.MaxBufferedRecords(4096))...)
	if err != nil {
		return nil, shut, fmt.Errorf("configuring the Kafka client: %w", err)
	}
	closeAll = append(closeAll, client.Close)

	topics := broker.Topics()
	publisher := events.New(topics.Events, "probe", cfg.Host, log)
	manager := &interfaces.Manager{Datapath: dp, Names: cfg.Interfaces, Mode: cfg.xdpMode, Publish: publisher.Publish, Log: log,
		Filter: filter.FilterMode(commands.Mode(cfg.Mode))}
	leases := filter.New(dp, filter.Options{
		Host: cfg.Host, Topic: topics.Commands, Mode: commands.Mode(cfg.Mode), MaxPerIssuer: cfg.MaxPerIssuer,
		ChangesPerSecond: cfg.ChangesPerSecond, DeadMan: cfg.DeadMan, Interfaces: slotsOf(manager),
		Publish: publisher.Publish, Log: log,
	})
	manager.Changed = leases.Reinstall
	commandLog := replay.New(topics.Commands, opts, log)
	host.reach = commandLog.Reach
	leases.SetFacts(host.Facts())
	manager.Sync()
	dropPrivileges(log)

	var view *statusView
	reporter := report.New(report.Options{Client: client, Kafka: opts, Topic: topics.Status, BootID: boot, Host: cfg.Host,
		Former: dp.FormerBootID(), Records: func() []status.Record { return view.records() },
		Changed: leases.Changed(), Publish: publisher.Publish, Log: log})
	loop := &drain.Loop{Datapath: dp, Client: countsClient, Topic: topics.Counts, Window: cfg.Window, MaxSources: cfg.MaxSources,
		IPv6Prefix: uint8(cfg.IPv6SourcePrefix), Host: cfg.Host, Name: manager.Name, MayPublish: reporter.MayPublish,
		Publish: publisher.Publish, Log: log}
	view = &statusView{dp: dp, manager: manager, leases: leases, loop: loop, host: host}
	server := health.New(cfg.HTTPAddress)
	registerMetrics(server, view, publisher)
	server.Ready("name", reporter.Ready)

	return []run.Component{
		{Name: "health", Run: server.Run},
		{Name: "events", Run: func(ctx context.Context) error { return publisher.Run(ctx, client) }},
		{Name: "interfaces", Run: manager.Run},
		{Name: "commands", Run: func(ctx context.Context) error { return commandLog.Run(ctx, leases) }},
		{Name: "leases", Run: func(ctx context.Context) error { return leases.Watch(ctx, host) }},
		{Name: "names", Run: reporter.Watch},
		{Name: "status", Run: reporter.Run},
		{Name: "topics", Run: func(ctx context.Context) error { return checkTopics(ctx, client, topics, publisher) }},
		{Name: "drain", Run: loop.Run},
	}, shut, nil
}

func datapathConfig(cfg Config, boot string) xdp.Config {
	return xdp.Config{PinPath: cfg.PinPath, BootID: boot, SourceWays: cfg.SourceWays, MaxSources: cfg.MaxSources, MaxLeases: cfg.MaxLeases, SourceLimit: cfg.SourceLimit,
		Strict: cfg.Strict, IPv6SourcePrefixLength: cfg.IPv6SourcePrefix}
}

func bootID() string {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return fmt.Sprintf("%016x", time.Now().UnixNano())
	}
	return hex.EncodeToString(b[:])
}
