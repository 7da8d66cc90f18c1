package cli

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-net/weir/schemas/commands"
)

// listed is one line of list.
type listed struct {
	Key              string             `json:"key"`
	Target           string             `json:"target"`
	Match            string             `json:"match"`
	Action           commands.Action    `json:"action"`
	Mode             commands.Mode      `json:"mode,omitempty"`
	Rate             *commands.Rate     `json:"rate,omitempty"`
	Issuer           string             `json:"issuer"`
	Reason           string             `json:"reason,omitempty"`
	Evidence         *commands.Evidence `json:"evidence,omitempty"`
	Offset           int64              `json:"offset"`
	IssuedAt         time.Time          `json:"issued_at"`
	ExpiresAt        *time.Time         `json:"expires_at,omitempty"`
	RemainingSeconds *float64           `json:"remaining_seconds,omitempty"`
	DroppedPackets   uint64             `json:"dropped_packets"`
	DroppedBytes     uint64             `json:"dropped_bytes"`
	WouldDrop        uint64             `json:"would_drop_packets"`
}

func (a *app) listCommand() *cobra.Command {
	var issuer, source string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the leases and modes in force, and what they drop",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var covers netip.Prefix
			if source != "" {
				var err error
				if covers, err = commands.ParsePrefix(source); err != nil {
					return usage(err)
				}
			}
			return a.list(cmd.Context(), issuer, covers)
		},
	}
	cmd.Flags().StringVar(&issuer, "by", "", "only those of this issuer")
	cmd.Flags().StringVar(&source, "source", "", "only those that cover or lie in this address or prefix")
	return cmd
}

func (a *app) list(ctx context.Context, issuer string, covers netip.Prefix) error {
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	set, err := a.leases(ctx, c)
	if err != nil {
		return err
	}
	statuses, err := a.statuses(ctx, c)
	if err != nil {
		return err
	}
	if t := newest(statuses); t.After(set.newest) {
		set.newest = t
	}
	set.see(time.Now())
	out := []listed{}
	for _, l := range set.live() {
		if issuer != "" && l.Issuer != issuer || covers.IsValid() && !l.Match.Source.Overlaps(covers) {
			continue
		}
		out = append(out, listedOf(&l, set.now, statuses))
	}
	if a.json() {
		return a.printJSON(out)
	}
	rows := make([][]string, 0, len(out))
	for _, l := range out {
		remaining := "for good"
		if l.RemainingSeconds != nil {
			remaining = short(time.Duration(*l.RemainingSeconds * float64(time.Second)))
		}
		rows = append(rows, []string{l.Match, l.action(), l.Target, l.Issuer, remaining, count(float64(l.DroppedPackets)), count(float64(l.WouldDrop)), l.Reason})
	}
	if err := table(a.Out, "MATCH ACTION TARGET ISSUER REMAINING DROPPED WOULD-DROP REASON", rows); err != nil {
		return err
	}
	if set.rejected > 0 {
		fmt.Fprintf(a.Out, "%d records of %s are no valid commands and apply nowhere\n", set.rejected, c.Topics.Commands)
	}
	return nil
}

// listedOf joins a lease with what the probes dropped by it. A probe that still
// reports an older version of the lease counts as well: a renewal keeps the
// counters.
func listedOf(l *commands.Lease, now time.Time, statuses map[string]seenStatus) listed {
	out := listed{
		Key: l.Key, Target: l.Target.String(), Match: l.Match.String(), Action: l.Action, Mode: l.Mode,
		Rate: l.Rate, Issuer: l.Issuer, Reason: l.Reason, Evidence: l.Evidence,
		Offset: l.Offset, IssuedAt: l.IssuedAt.UTC(),
	}
	if !l.ExpiresAt.IsZero() {
		expires, remaining := l.ExpiresAt.UTC(), l.ExpiresAt.Sub(now).Seconds()
		out.ExpiresAt, out.RemainingSeconds = &expires, &remaining
	}
	for _, s := range statuses {
		for _, d := range s.Filter.Drops {
			if d.Key == l.Key {
				out.DroppedPackets += d.Packets
				out.DroppedBytes += d.Bytes
				out.WouldDrop += d.Would
			}
		}
	}
	return out
}

// action says what a line does, for people.
func (l *listed) action() string {
	switch {
	case l.Action == commands.SetMode:
		return "mode " + string(l.Mode)
	case l.Rate != nil && l.Rate.PPS > 0 && l.Rate.BPS > 0:
		return fmt.Sprintf("limit %spps,%sbps", count(float64(l.Rate.PPS)), count(float64(l.Rate.BPS)))
	case l.Rate != nil && l.Rate.BPS > 0:
		return fmt.Sprintf("limit %sbps", count(float64(l.Rate.BPS)))
	case l.Rate != nil:
		return fmt.Sprintf("limit %spps", count(float64(l.Rate.PPS)))
	}
	return string(l.Action)
}
