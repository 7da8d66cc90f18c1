package cli

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/weir/internal/doctor"
)

// defaultPinPath is the probe's default of WEIR_PROBE_PIN_PATH.
const defaultPinPath = "/sys/fs/bpf/weir"

func (a *app) doctorCommand() *cobra.Command {
	var o doctor.Options
	var partitions int32
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what keeps Weir from working on this machine and with these brokers",
		Long: "Look at what a probe needs of this machine (kernel, BTF, bpffs, capabilities,\n" +
			"interfaces, clock) and at what all of Weir needs of the brokers (reachable, topics\n" +
			"as the contract says, clocks, live probes). One line per finding, and one with what\n" +
			"to do about it. Elsewhere than on Linux, only the brokers are looked at.\n" +
			"Exit code 1 if anything fails; a warning does not.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(o.Interfaces) == 0 && a.Getenv("WEIR_PROBE_INTERFACES") != "" {
				o.Interfaces = strings.Split(a.Getenv("WEIR_PROBE_INTERFACES"), ",")
			}
			o.PinPath = cmp.Or(o.PinPath, a.Getenv("WEIR_PROBE_PIN_PATH"), defaultPinPath)
			return a.doctor(cmd.Context(), o, partitions)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.Interfaces, "interface", nil, "interfaces to look at (default: WEIR_PROBE_INTERFACES, else all that are up)")
	f.StringVar(&o.PinPath, "pin-path", "", "the probe's directory on a bpffs (default: WEIR_PROBE_PIN_PATH, else "+defaultPinPath+")")
	f.Int32Var(&partitions, "partitions", schemas.DefaultPartitions, "that counts and rates are to have")
	return cmd
}

func (a *app) doctor(ctx context.Context, o doctor.Options, partitions int32) error {
	findings := append(doctor.Machine(o), a.diagnoseBrokers(ctx, partitions)...)
	var err error
	if a.json() {
		err = a.printJSON(findings)
	} else {
		err = doctor.Print(a.Out, findings)
	}
	if err == nil && doctor.Failed(findings) {
		return exit(ExitError, "")
	}
	return err
}

func (a *app) diagnoseBrokers(ctx context.Context, partitions int32) []doctor.Finding {
	c, err := a.open(ctx)
	if err != nil {
		if exitCode(err) == ExitUsage {
			return []doctor.Finding{doctor.Unconfigured(err)}
		}
		return []doctor.Finding{doctor.Unreachable(err)}
	}
	defer c.Close()
	asking, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	brokers, err := c.Reach(asking)
	if err != nil {
		return []doctor.Finding{doctor.Unreachable(err)}
	}
	out := doctor.Brokers(brokers)
	asking, cancel = context.WithTimeout(ctx, a.timeout) // one that does not answer may have used the first up
	defer cancel()
	states, err := c.CheckTopics(asking, schemas.Specs(c.Topics, partitions, defaultReplication(len(brokers))))
	if err != nil {
		return append(out, doctor.Unreadable(err))
	}
	missing := false
	for _, s := range states {
		out = append(out, doctor.Topic(s))
		missing = missing || s.Missing
	}
	if missing {
		return out // nothing can be alive without them
	}
	statuses, err := a.statuses(ctx, c)
	if err != nil {
		return append(out, doctor.Unreadable(err))
	}
	out = append(out, diagnoseProbes(statuses, time.Now())...)
	counts, err := c.Newest(asking, c.Topics.Counts)
	if err != nil {
		return append(out, doctor.Unreadable(err))
	}
	rates, err := c.Newest(asking, c.Topics.Rates)
	if err != nil {
		return append(out, doctor.Unreadable(err))
	}
	return append(out, doctor.Aggregator(counts, rates))
}

// diagnoseProbes judges the live ones.
func diagnoseProbes(statuses map[string]seenStatus, now time.Time) []doctor.Finding {
	latest := newest(statuses)
	out := []doctor.Finding{doctor.BrokerClock(latest, now)}
	if latest.After(now) {
		now = latest
	}
	for _, key := range slices.Sorted(maps.Keys(statuses)) {
		if s := statuses[key]; !s.Stopped && now.Sub(s.at) < schemas.StaleAfter {
			out = append(out, doctor.Probe(s.Record))
		}
	}
	if len(out) == 1 {
		out = append(out, doctor.NoProbe())
	}
	return out
}
