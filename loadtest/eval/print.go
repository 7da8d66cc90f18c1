package eval

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-net/weir/loadtest/scenario"
)

// print writes all tables and says whether the targets are met.
func (e *evaluation) print(outcomes []*outcome) error {
	var summaries []*summary
	for _, p := range policiesOf(outcomes) {
		summaries = append(summaries, summarize(p, outcomes))
	}
	w := tabwriter.NewWriter(e.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, s := range summaries {
		if s.policy == weir {
			printAttacks(w, s)
			printStages(w, s)
			printOthers(w, s)
		}
	}
	printComparison(w, summaries)
	missed := 0
	fmt.Fprint(w, "\ntarget\tmeasured\twanted\t\t\n")
	for _, s := range summaries {
		if s.policy != weir {
			continue
		}
		for _, t := range s.targets() {
			verdict, sign := "met", "≤"
			if t.atLeast {
				sign = "≥"
			}
			if !t.met() {
				verdict, missed = "MISSED", missed+1
			}
			fmt.Fprintf(w, "%s\t%s %s\t%s %s %s\t%s\t\n", t.what, number(t.got), t.unit, sign, number(t.want), t.unit, verdict)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	fmt.Fprintf(e.Out, "\nanswered: what passes of an attacker who sends nothing more on a connection whose SYN was dropped, where a replay does.\nThresholds are computed from the counts of the same runs, as if they acted without delay.\n%d runs, %d captures at once, in %v\n", e.done, e.Parallel, time.Since(e.start).Round(time.Second))
	if missed > 0 {
		return fmt.Errorf("%w: %d", ErrMissed, missed)
	}
	return nil
}

// policiesOf lists the policies in the order in which they were told of.
func policiesOf(outcomes []*outcome) []string {
	var out []string
	for _, o := range outcomes {
		if !slices.Contains(out, o.policy) {
			out = append(out, o.policy)
		}
	}
	return out
}

func printAttacks(w *tabwriter.Writer, s *summary) {
	fmt.Fprint(w, "attack\texpected\tfound\tp50 ms\tp99 ms\tpassed %\tanswered %\tbenign dropped\tblocked\tvisitors pass %\tsource leases\tsignatures\trules\t\n")
	for _, l := range s.attacks {
		fmt.Fprintf(w, "%s\t%s\t%d of %d\t%.0f\t%.0f\t%s\t%s\t%d of %d\t%d\t%s\t%d\t%d\t%s\t\n", l.item.name, l.item.label.Expected, l.hits, l.runs,
			ms(quantile(l.times, 0.5)), ms(quantile(l.times, 0.99)), passing(l.attack), passing(l.answered), l.benign.dropped, l.benign.packets,
			len(l.blocked), passing(l.visitors), l.perSource, l.signatures, rulesOf(l))
	}
}

// passing is what part of a tally passed, "-" of nothing.
func passing(t tally) string {
	if t.packets == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", 100-t.share())
}

func rulesOf(l *line) string {
	if len(l.rules) == 0 {
		return "-"
	}
	return strings.Join(slices.Sorted(maps.Keys(l.rules)), " ")
}

// printStages splits the time to mitigate.
func printStages(w *tabwriter.Writer, s *summary) {
	fmt.Fprint(w, "\ntime to mitigate, ms")
	for _, name := range (scenario.Stages{}).Names() {
		fmt.Fprintf(w, "\t%s", name)
	}
	fmt.Fprint(w, "\tall\t\n")
	for _, q := range []float64{0.5, 0.99} {
		fmt.Fprintf(w, "p%.0f of %d runs", 100*q, len(s.times))
		for i := range (scenario.Stages{}).Names() {
			var values []time.Duration
			for _, x := range s.stages {
				values = append(values, x.Values()[i])
			}
			fmt.Fprintf(w, "\t%.1f", ms(quantile(values, q)))
		}
		fmt.Fprintf(w, "\t%.1f\t\n", ms(quantile(s.times, q)))
	}
}

func printOthers(w *tabwriter.Writer, s *summary) {
	fmt.Fprint(w, "\nordinary traffic\texpected\truns\tpackets\tdropped\tblocked\trules\t\n")
	for _, l := range s.others {
		all := l.benign
		all.add(l.attack)
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%s\t\n", l.item.name, l.item.label.Expected, l.runs, all.packets, all.dropped,
			len(l.blocked), rulesOf(l))
	}
}

func printComparison(w *tabwriter.Writer, summaries []*summary) {
	fmt.Fprint(w, "\npolicy\tfound\tp50 ms\tp99 ms\tattack passed %\tbenign dropped %\tbenign sources blocked\tleases per source on signature attacks\tvisitors pass %\t\n")
	for _, s := range summaries {
		fmt.Fprintf(w, "%s\t%d of %d\t%.0f\t%.0f\t%.1f\t%.3f\t%d\t%d\t%s\t\n", s.policy, s.found, len(s.attacks),
			ms(quantile(s.times, 0.5)), ms(quantile(s.times, 0.99)), 100-s.attack.share(), s.benign.share(), s.blocked, s.perSourceWrong,
			passing(s.visitors))
	}
}

func number(f float64) string {
	if f == float64(int64(f)) {
		return fmt.Sprintf("%d", int64(f))
	}
	return fmt.Sprintf("%.3g", f)
}
