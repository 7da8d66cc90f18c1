package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

// logFlags are those of log.
type logFlags struct {
	since     time.Duration
	follow    bool
	open      bool
	ifaceName string
}

// attack is one line of log: the record and its key.
type attack struct {
	Key string `json:"key"`
	attacks.Record
}

func (a *app) logCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Show attacks: when, where, what kind, how strong, and what was done",
		Long: "Show the attacks that went on within --since, the oldest first. The topic keeps them\n" +
			"for 30 days. With -f, attacks are told of as they begin, change their action and end.\n" +
			"-o json prints one array; with -f each record as a line, whenever one is written.",
		Example: "  weir log --since 24h\n  weir log -f -o json | jq .vector",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.since <= 0 {
				return usage(fmt.Errorf("--since %v: want more than 0", f.since))
			}
			return a.log(cmd.Context(), f)
		},
	}
	cmd.Flags().DurationVar(&f.since, "since", time.Hour, "attacks that went on within this long")
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with what happens from now on")
	cmd.Flags().BoolVar(&f.open, "open", false, "only attacks that go on")
	cmd.Flags().StringVar(&f.ifaceName, "interface", "", "only this interface, <host>/<ifname>, or host")
	return cmd
}

// wants reports whether an attack is to be shown.
func (f *logFlags) wants(r *attacks.Record, now time.Time) bool {
	switch {
	case f.open && r.Ended(), r.Ended() && r.End.Before(now.Add(-f.since)):
		return false
	case f.ifaceName == "", f.ifaceName == r.Host:
		return true
	}
	return f.ifaceName == schemas.InterfaceKey(r.Host, r.Interface)
}

func (a *app) log(ctx context.Context, f logFlags) error {
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	known := map[string]attacks.Record{}
	caught := false
	reading := ctx
	if !f.follow {
		var cancel context.CancelFunc
		reading, cancel = context.WithTimeout(ctx, a.timeout)
		defer cancel()
	}
	err = c.Follow(reading, c.Topics.Attacks, broker.FromStart(), func(r *kgo.Record) bool {
		if len(r.Value) == 0 {
			delete(known, string(r.Key))
			return true
		}
		x, err := attacks.Decode(r.Key, r.Value)
		if err != nil {
			return true
		}
		old, told := known[x.Key()]
		known[x.Key()] = x
		if caught && f.wants(&x, time.Now()) {
			return a.news(&x, &old, told) == nil
		}
		return true
	}, func() bool {
		caught = true
		return a.printLog(known, f, time.Now()) == nil && f.follow
	})
	return err
}

// printLog prints what is known so far.
func (a *app) printLog(known map[string]attacks.Record, f logFlags, now time.Time) error {
	out := []attack{}
	for key, r := range known {
		if f.wants(&r, now) {
			out = append(out, attack{key, r})
		}
	}
	slices.SortFunc(out, byStart)
	switch {
	case a.json() && f.follow:
		for i := range out {
			if err := a.printJSON(&out[i]); err != nil {
				return err
			}
		}
		return nil
	case a.json():
		return a.printJSON(out)
	}
	rows := make([][]string, 0, len(out))
	for i := range out {
		rows = append(rows, attackRow(&out[i].Record))
	}
	return table(a.Out, "START END INTERFACE RULE VECTOR VICTIM PEAK-PPS PEAK-BPS SOURCES ACTION DROPPED WOULD-DROP LEASES", rows)
}

// byStart orders attacks.
func byStart(x, y attack) int { return cmp.Or(x.Start.Compare(y.Start), cmp.Compare(x.Key, y.Key)) }

func attackRow(r *attacks.Record) []string {
	end := "goes on"
	if r.Ended() {
		end = "after " + short(r.End.Sub(r.Start))
	}
	victim := "-"
	if r.Destination.IsValid() {
		victim = r.Destination.String()
	}
	return []string{
		r.Start.UTC().Format("2006-01-02T15:04:05Z"), end, schemas.InterfaceKey(r.Host, r.Interface), r.Rule, r.Vector, victim,
		count(r.PeakPPS), count(r.PeakBPS), strconv.FormatUint(r.Sources, 10), doing(r),
		count(float64(r.Dropped)), count(float64(r.Would)), strconv.Itoa(r.Leases),
	}
}

// doing says what is done about an attack: in the modes that only count, nothing
// is.
func doing(r *attacks.Record) string {
	if r.Mode == "" || r.Mode == "enforce" {
		return string(r.Action)
	}
	return "(" + string(r.Action) + ")"
}

// news prints a record that has just come. Text leaves out those in which only
// figures have changed.
func (a *app) news(r, old *attacks.Record, told bool) error {
	if a.json() {
		return a.printJSON(attack{r.Key(), *r})
	}
	what := "began"
	switch {
	case r.Ended():
		what = "ended"
	case !told:
	case r.Action != old.Action || r.Mode != old.Mode && old.Mode != "":
		what = "now"
	default:
		return nil
	}
	_, err := fmt.Fprintf(a.Out, "%s %s %s\n", r.UpdatedAt.UTC().Format("15:04:05"), what, attackText(r))
	return err
}

// attackText tells of an attack in a line.
func attackText(r *attacks.Record) string {
	row := attackRow(r)
	line := fmt.Sprintf("%s: %s %s, victim %s, %s packets/s, %sbit/s at its peak, %s sources, %s, %s dropped, %s would have been",
		row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9], row[10], row[11])
	if r.Ended() {
		line += ", " + strings.TrimPrefix(row[1], "after ") + " long"
	}
	return schemas.Printable(line, 400)
}
