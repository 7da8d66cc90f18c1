package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/detect/rules"
	"github.com/weir-net/weir/services/weir/internal/backtest"
	"github.com/weir-net/weir/services/weir/internal/history"
)

// backtestFlags are those of backtest.
type backtestFlags struct {
	rules, baseline, from, to, file, scope string
	protected                              []string
	failOnChange, all                      bool
}

// tested is what backtest prints: the result, and how long it took.
type tested struct {
	*backtest.Result
	Differs     bool        `json:"differs"`
	CutOff      bool        `json:"cut_off,omitempty"` // the file had no end
	Performance performance `json:"performance"`
}

// performance is of this run, on this machine.
type performance struct {
	Seconds          float64 `json:"seconds"`
	RecordsPerSecond float64 `json:"records_per_second"`
	PacketsPerSecond float64 `json:"packets_per_second"`
	Speed            float64 `json:"times_real_time"`
}

func (a *app) backtestCommand() *cobra.Command {
	var f backtestFlags
	cmd := &cobra.Command{
		Use:   "backtest --rules FILE (--from WHEN [--to WHEN] | --file FILE)",
		Short: "Compare what new rules would have done with the current ones, over history",
		Long: "Run two sets of rules over the counts of the past, as fast as it goes: the current ones\n" +
			"(those in the program, or --baseline) and those of --rules. Printed is what only one of\n" +
			"them would have ordered, beside what was really done. The history is the counts topic,\n" +
			"which keeps an hour, or a file of weir record. Exit code 1 with --fail-on-change if the\n" +
			"rules decide otherwise.\n\n" +
			"The counts are those of a world in which the leases of then were in force; what other\n" +
			"leases would have done to the traffic cannot be replayed.",
		Example: "  weir backtest --rules new.yaml --from 1h\n  weir backtest --rules new.yaml --file monday.weir --fail-on-change",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.backtest(cmd.Context(), f) },
	}
	cmd.Flags().StringVar(&f.rules, "rules", "", "rules file to try; the rules in the program if empty")
	cmd.Flags().StringVar(&f.baseline, "baseline", "", "rules file to compare with; the rules in the program if empty")
	cmd.Flags().StringVar(&f.from, "from", "", "begin at this moment, or as long ago")
	cmd.Flags().StringVar(&f.to, "to", "0s", "end at this moment, or as long ago")
	cmd.Flags().StringVar(&f.file, "file", "", "a file of weir record, instead of the topics")
	cmd.Flags().StringVar(&f.scope, "scope", "interface", "what a lease targets, as WEIR_POLICY_SCOPE: interface, or host")
	cmd.Flags().StringSliceVar(&f.protected, "protected", nil, "prefixes never to block, as WEIR_POLICY_PROTECTED")
	cmd.Flags().BoolVar(&f.failOnChange, "fail-on-change", false, "exit code 1 if the rules decide otherwise")
	cmd.Flags().BoolVar(&f.all, "all", false, "print what both order, too")
	return cmd
}

// options reads the rules.
func (f *backtestFlags) options() (backtest.Options, error) {
	o := backtest.Options{WholeHost: f.scope == "host"}
	if f.scope != "interface" && f.scope != "host" {
		return o, fmt.Errorf("--scope %s: want interface or host", f.scope)
	}
	if f.rules == f.baseline {
		return o, errors.New("--rules and --baseline are the same: name rules to try")
	}
	for _, s := range f.protected {
		p, err := commands.ParsePrefix(s)
		if err != nil {
			return o, fmt.Errorf("--protected %w", err)
		}
		o.Protected = append(o.Protected, p)
	}
	var err error
	if o.Old, err = rules.Load(f.baseline); err != nil {
		return o, err
	}
	o.New, err = rules.Load(f.rules)
	return o, err
}

func (a *app) backtest(ctx context.Context, f backtestFlags) error {
	o, err := f.options()
	if err != nil {
		return usage(err)
	}
	if (f.file == "") == (f.from == "") {
		return usage(errors.New("want either --from or --file"))
	}
	start := time.Now()
	run := backtest.New(o)
	out := tested{}
	if f.file != "" {
		out.CutOff, err = replayFile(ctx, f.file, run)
	} else {
		err = a.replayTopics(ctx, f, run, start)
	}
	if err != nil {
		return err
	}
	out.Result = run.Result()
	out.Differs = out.Result.Differs()
	took := time.Since(start).Seconds()
	out.Performance = performance{Seconds: took, RecordsPerSecond: float64(out.Records) / took, PacketsPerSecond: float64(out.Packets) / took,
		Speed: out.To.Sub(out.From).Seconds() / took}
	if a.json() {
		err = a.printJSON(out)
	} else {
		err = a.printBacktest(&out, f.all)
	}
	if err == nil && f.failOnChange && out.Differs {
		return exit(ExitError, "")
	}
	return err
}

// replayFile runs over a recording. cutOff says that it had no end.
func replayFile(ctx context.Context, name string, run *backtest.Run) (cutOff bool, err error) {
	f, err := os.Open(name)
	if err != nil {
		return false, fmt.Errorf("opening the history: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := history.NewReader(f)
	if err != nil {
		return false, err
	}
	defer r.Close()
	for ctx.Err() == nil {
		x, err := r.Read()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, history.ErrCutOff):
			return errors.Is(err, history.ErrCutOff), nil
		case err != nil:
			return false, err
		}
		feed(run, &x, r.Info.From)
	}
	return false, ctx.Err()
}

// feed gives a record to the run.
func feed(run *backtest.Run, x *history.Record, from time.Time) {
	switch x.Kind {
	case history.Counts:
		run.Counts(x)
	case history.Commands:
		run.Command(x, x.Timestamp.Before(from))
	case history.Events:
		run.Event(x)
	}
}

// replayTopics runs over what the topics still have of a time.
func (a *app) replayTopics(ctx context.Context, f backtestFlags, run *backtest.Run, now time.Time) error {
	from, err := parseWhen(f.from, now)
	if err != nil {
		return usage(fmt.Errorf("--from %w", err))
	}
	to, err := parseWhen(f.to, now)
	if err != nil {
		return usage(fmt.Errorf("--to %w", err))
	}
	if !from.Before(to) {
		return usage(fmt.Errorf("--from %s is not before --to %s", f.from, f.to))
	}
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	spans, err := a.historySpans(ctx, c, from, to)
	if err != nil {
		return err
	}
	give := func(r *kgo.Record) error {
		x := history.FromKafka(kindOf(c, r), r)
		feed(run, &x, from)
		return nil
	}
	if err := c.InOrder(ctx, spans.before, give); err != nil {
		return err
	}
	return c.InOrder(ctx, spans.within, give)
}
