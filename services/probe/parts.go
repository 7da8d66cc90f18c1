package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/kit/config"
	kitevents "github.com/weir-net/weir/services/internal/kit/events"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/run"
	"github.com/weir-net/weir/services/probe/internal/drain"
	"github.com/weir-net/weir/services/probe/internal/filter"
	"github.com/weir-net/weir/services/probe/internal/guard"
	"github.com/weir-net/weir/services/probe/internal/interfaces"
	"github.com/weir-net/weir/services/probe/internal/privileges"
)

type brokersSeen = map[guard.Broker]time.Time

// remove detaches the data plane and deletes what it pinned, of whatever sizes.
func remove(s run.Service, cfg *Config) int {
	if os.Getenv("WEIR_PROBE_INTERFACES") == "" {
		os.Setenv("WEIR_PROBE_INTERFACES", "none") // not needed here
	}
	if err := config.Load(s.Config...); err != nil {
		fmt.Fprintf(os.Stderr, "%s: bad configuration: %v\n", s.Name, err)
		return run.ExitConfig
	}
	unlock, err := lockPins(cfg.PinPath)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: removing: %v\n", s.Name, err)
		return run.ExitError
	}
	defer unlock()
	if err := xdp.RemovePins(cfg.PinPath); err != nil {
		fmt.Fprintf(os.Stderr, "%s: removing: %v\n", s.Name, err)
		return run.ExitError
	}
	return run.ExitOK
}

// dropPrivileges keeps what attaching to interfaces that appear later takes. A
// probe that cannot drop the rest is no worse than one that did not try.
func dropPrivileges(log *slog.Logger) {
	dropped, err := privileges.Drop(privileges.Needed)
	if err != nil {
		log.Warn("capabilities that are not needed remain", "error", err)
	} else if dropped > 0 {
		log.Info("gave up capabilities", "dropped", dropped)
	}
}

func slotsOf(m *interfaces.Manager) func() []filter.Interface {
	return func() []filter.Interface {
		var out []filter.Interface
		for _, a := range m.Attached() {
			out = append(out, filter.Interface{Slot: a.Slot, Name: a.Name})
		}
		return out
	}
}

// checkTopics says once what is wrong with the topics, and never stops the
// probe: a filter without a broker is better than none.
func checkTopics(ctx context.Context, client *kgo.Client, t schemas.Topics, p *kitevents.Publisher) error {
	told := ""
	for ctx.Err() == nil {
		err := kafka.CheckTopics(ctx, client, t, t.Counts, t.Commands, t.Status, t.Events)
		if err == nil {
			break
		}
		if told != err.Error() && ctx.Err() == nil {
			told = err.Error()
			p.Publish(events.Record{Kind: events.KindBroker, Severity: events.Error, Reason: told})
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Second):
		}
	}
	<-ctx.Done()
	return nil
}

// statusView puts the status records together.
type statusView struct {
	dp      *xdp.Datapath
	manager *interfaces.Manager
	leases  *filter.Filter
	loop    *drain.Loop
	host    *machine
	writes  writes
}

func (v *statusView) records() []status.Record {
	offset, ready := v.leases.Applied()
	stats := v.loop.Stats()
	waiting := stats.Waiting.Load()
	taken := !v.writes.stuck(stats.Windows.Load(), waiting > 0, time.Now())
	var out []status.Record
	for _, a := range v.manager.Attached() {
		f := v.leases.Status(filter.Interface{Slot: a.Slot, Name: a.Name})
		if verdicts, err := v.dp.Verdicts(a.Slot); err == nil {
			f.Verdicts = verdicts
		}
		out = append(out, status.Record{
			Interface: a.Name, Ifindex: uint32(a.Ifindex), Mode: string(filter.ModeName(v.dp.FilterMode(a.Slot))),
			XDPMode: a.Mode.String(), XDPReason: a.Reason,
			Components: map[string]status.Component{status.ComponentFilter: {AppliedOffset: offset, Ready: ready}},
			Filter:     f, Seq: v.loop.Seq(a.Name), Buffered: int(waiting), ShedSources: stats.Shed.Load(),
			BrokerReachable: v.host.BrokersReachable() && taken, MemoryBytes: v.dp.MemoryBytes() + residentBytes(), Version: version,
		})
	}
	return out
}
