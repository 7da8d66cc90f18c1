package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/status"
)

// interfaceStatus is one line of status.
type interfaceStatus struct {
	State      string        `json:"state"` // live, stale, stopped
	AgeSeconds float64       `json:"age_seconds"`
	Behind     int64         `json:"commands_behind"`
	Status     status.Record `json:"status"`
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show every interface of every probe: mode, leases, how far it has applied commands",
		Long: "Show every interface of every probe that reported within the hour. An interface is\n" +
			"stale when its probe has been silent for 15 s. Exit code 4 if none is live. BROKER is\n" +
			"what the probe says of it: refuses, if it takes no counts (a full disk, too few\n" +
			"replicas); silent, if nothing has come from the probe for 5 s.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context()) },
	}
}

func (a *app) status(ctx context.Context) error {
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	statuses, err := a.statuses(ctx, c)
	if err != nil {
		return err
	}
	asking, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	end, err := c.EndOffset(asking, c.Topics.Commands)
	if err != nil {
		return err
	}
	now := time.Now()
	if t := newest(statuses); t.After(now) {
		now = t // the broker's clock is ahead of ours
	}
	out := []interfaceStatus{}
	live := 0
	for _, key := range slices.Sorted(maps.Keys(statuses)) {
		s := statuses[key]
		line := interfaceStatus{State: "live", AgeSeconds: now.Sub(s.at).Seconds(), Status: s.Record}
		switch {
		case s.Stopped:
			line.State = "stopped"
		case now.Sub(s.at) >= schemas.StaleAfter:
			line.State = "stale"
		default:
			live++
		}
		if f, ok := s.Components[status.ComponentFilter]; ok {
			line.Behind = max(0, end-1-f.AppliedOffset)
		}
		out = append(out, line)
	}
	if a.json() {
		err = a.printJSON(out)
	} else {
		err = a.printStatus(out)
	}
	if err == nil && live == 0 {
		return exit(ExitNoProbe, "no live probe; if they run, the brokers may refuse what they write: see weir doctor on their hosts")
	}
	return err
}

func (a *app) printStatus(lines []interfaceStatus) error {
	rows := make([][]string, 0, len(lines))
	for _, l := range lines {
		s := &l.Status
		f := s.Components[status.ComponentFilter]
		applied := "-"
		if f.AppliedOffset >= 0 {
			applied = strconv.FormatInt(f.AppliedOffset, 10)
		}
		if l.Behind > 0 {
			applied += fmt.Sprintf(" (-%d)", l.Behind)
		}
		rows = append(rows, []string{
			s.Key(), l.State, short(time.Duration(l.AgeSeconds * float64(time.Second))), s.Mode, s.XDPMode,
			fmt.Sprintf("%d/%d", s.Filter.Leases, s.Filter.Capacity), strconv.Itoa(s.Filter.Suspended),
			strconv.FormatUint(s.Filter.Rejected, 10), applied, yes(f.Ready), brokerOf(l),
			count(float64(s.MemoryBytes)) + "B", s.Version,
		})
	}
	return table(a.Out, "INTERFACE STATE AGE MODE XDP LEASES SUSPENDED REJECTED APPLIED READY BROKER MEMORY VERSION", rows)
}

// silentAfter is how old a report may be, of those that come every second, for what
// it says about the brokers to be true still: they may have refused the next one.
const silentAfter = 5 * time.Second

func brokerOf(l interfaceStatus) string {
	switch {
	case l.State != "live":
		return "-"
	case l.AgeSeconds > silentAfter.Seconds():
		return "silent"
	case l.Status.BrokerReachable:
		return "reachable"
	case l.Status.Buffered > 0:
		return "refuses" // to take counts: this report got through
	default:
		return "unreachable"
	}
}
