package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// leaseFlags are those of a new lease.
type leaseFlags struct {
	matchFlags
	waitFlags
	ttl    time.Duration
	reason string
}

func (f *leaseFlags) add(cmd *cobra.Command) {
	f.matchFlags.add(cmd)
	f.waitFlags.add(cmd)
	cmd.Flags().DurationVar(&f.ttl, "ttl", commands.DefaultTTL, "how long it holds, 1s to 24h")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for people")
}

func (a *app) blockCommand() *cobra.Command {
	var f leaseFlags
	var rate string
	var observe bool
	cmd := &cobra.Command{
		Use:   "block [SOURCE]",
		Short: "Drop or limit packets at every interface of the target, and wait until it is so",
		Long: "Drop packets from SOURCE (an address or prefix), or to --destination, at every\n" +
			"interface of the target; with --rate limit them instead. It is a lease: it lapses\n" +
			"after --ttl. Then wait until every live probe has applied it.",
		Example: "  weir block 203.0.113.7\n" +
			"  weir block 203.0.113.0/24 --ttl 1h --target host:edge-1 --reason 'syn flood'\n" +
			"  weir block --destination 192.0.2.80 --protocol udp --source-port 53 --rate 1000pps",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := commands.Command{Action: commands.Drop}
			verb := "blocked"
			switch {
			case rate != "" && observe:
				return usage(fmt.Errorf("--rate and --observe exclude each other"))
			case rate != "":
				r, err := parseRate(rate)
				if err != nil {
					return usage(err)
				}
				c.Action, c.Rate, verb = commands.RateLimit, r, "limited"
			case observe:
				c.Action, verb = commands.Observe, "observed"
			}
			return a.lease(cmd.Context(), c, verb, &f, args)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&rate, "rate", "", "limit instead of drop: 500pps, 10mbps or both with a comma")
	cmd.Flags().BoolVar(&observe, "observe", false, "only count what matches")
	return cmd
}

func (a *app) allowCommand() *cobra.Command {
	var f leaseFlags
	cmd := &cobra.Command{
		Use:     "allow [SOURCE]",
		Short:   "Let packets pass whatever else is blocked: an allow beats every other lease",
		Example: "  weir allow 203.0.113.7 --ttl 24h --reason 'monitoring'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.lease(cmd.Context(), commands.Command{Action: commands.Allow}, "allowed", &f, args)
		},
	}
	f.add(cmd)
	return cmd
}

// lease completes c from the flags, writes it and waits.
func (a *app) lease(ctx context.Context, c commands.Command, verb string, f *leaseFlags, args []string) error {
	var err error
	if c.Target, c.Match, err = f.match(args); err != nil {
		return err
	}
	if c.Issuer, err = a.whoami(); err != nil {
		return err
	}
	c.TTL, c.Reason = f.ttl, f.reason
	return a.issue(ctx, c, verb, f.waitFlags)
}

// issue writes c and waits for the probes.
func (a *app) issue(ctx context.Context, c commands.Command, verb string, f waitFlags) error {
	key, value, err := commands.Encode(c)
	if err != nil {
		return usage(err)
	}
	out := outcome{Key: string(key), Action: c.Action, verb: verb}
	return a.write(ctx, c.Target, []record{{key, value}}, &out, f, func(at time.Time) {
		if c.TTL > 0 {
			expires := at.Add(c.TTL).UTC()
			out.ExpiresAt = &expires
		}
	})
}

func (a *app) modeCommand() *cobra.Command {
	var f waitFlags
	var target, reason string
	var ttl time.Duration
	cmd := &cobra.Command{
		Use:   "mode enforce|observe|off",
		Short: "Say whether probes drop (enforce), only count (observe) or let everything pass (off)",
		Long: "Set the mode of the target's probes. The most specific target wins, then the latest\n" +
			"command. \"off\" is the kill switch: everything passes and is counted.",
		Example:   "  weir mode enforce\n  weir mode off --target host:edge-1 --reason 'false positives'",
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{string(commands.ModeEnforce), string(commands.ModeObserve), string(commands.ModeOff)},
		RunE: func(cmd *cobra.Command, args []string) error {
			c := commands.Command{Action: commands.SetMode, Mode: commands.Mode(args[0]), TTL: ttl, Reason: reason}
			var err error
			if c.Target, err = schemas.ParseTarget(target); err != nil {
				return usage(err)
			}
			if c.Issuer, err = a.whoami(); err != nil {
				return err
			}
			return a.issue(cmd.Context(), c, "mode "+args[0], f)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&target, "target", "*", `where: "*", host:<host> or interface:<host>/<ifname>`)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for people")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "fall back after this long (default: hold for good)")
	return cmd
}
