package demo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/traffic"
)

// report prints the two tables and says whether all is as it should be.
func (d *demo) report() error {
	zero := d.spans[0].from - time.Second
	d.say("")
	w := tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(w, "attack", "first packet", "first drop", "time to mitigate", "sent", "passed", "dropped", "source leases", "signatures", "rule")
	for _, o := range d.outcomes {
		row(w, o.Name, at(o.First-zero), at(o.FirstDrop-zero), mitigated(o), count(o.Sent), count(o.Passed()), count(o.Dropped),
			strconv.Itoa(o.PerSource), strconv.Itoa(o.Signatures), rule(o))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	d.say("")
	w = tabwriter.NewWriter(d.Out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row(w, "ordinary clients", "requests", "failed", "median", "p99", "over new connections: p99")
	failures := 0
	for _, s := range d.spans {
		j := judge(d.clients.Between(s.from, s.to))
		failures += j.failures
		row(w, s.name, strconv.Itoa(j.requests), strconv.Itoa(j.failures), ms(j.median), ms(j.p99), ms(j.p99New))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	dropped := d.s.Counts.Sums().Of(lab.OrdinarySources).Dropped
	d.say("\npackets of ordinary clients that Weir dropped: %d", dropped)
	return d.verdict(failures, dropped)
}

func (d *demo) verdict(failures int, dropped uint64) error {
	var wrong []string
	for _, o := range d.outcomes {
		if !o.Mitigated() {
			wrong = append(wrong, fmt.Sprintf("the %s was not stopped (%s of the last %s packets passed)", o.Name, count(o.LatePassed), count(o.LateSent)))
		}
		if o.Name == "SYN flood" && o.PerSource > 0 {
			wrong = append(wrong, fmt.Sprintf("%d leases on single sources were written for spoofed addresses", o.PerSource))
		}
	}
	switch {
	case failures > 0 && dropped > 0:
		wrong = append(wrong, fmt.Sprintf("%d ordinary requests failed and %d of the clients' packets were dropped", failures, dropped))
	case failures > 0:
		d.say("%d ordinary requests failed, though none of the clients' packets was dropped by Weir", failures)
	}
	if len(wrong) > 0 {
		for _, line := range wrong {
			d.say("FAILED: %s", line)
		}
		return fmt.Errorf("%w: %d findings", ErrNotMitigated, len(wrong))
	}
	d.say("%s every flood was stopped, and no ordinary request failed because of it", d.clock())
	return nil
}

func row(w *tabwriter.Writer, cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")+"\t") }

func mitigated(o scenario.Outcome) string {
	if o.FirstDrop == 0 {
		return "never"
	}
	return fmt.Sprintf("%d ms", o.TimeToMitigate().Milliseconds())
}

func rule(o scenario.Outcome) string {
	if o.Decision == nil {
		return "-"
	}
	text := string(o.Decision.Command.Action)
	if e := o.Decision.Command.Evidence; e != nil {
		text = e.Rule + " " + text
	}
	return text
}

func at(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	return fmt.Sprintf("%.3f s", d.Seconds())
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// count writes a number with separators.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

type judgement struct {
	requests, failures  int
	median, p99, p99New time.Duration
}

func judge(requests []traffic.Request) judgement {
	var all, fresh []time.Duration
	j := judgement{requests: len(requests)}
	for _, r := range requests {
		if r.Error != "" {
			j.failures++
			continue
		}
		all = append(all, r.Latency)
		if r.NewConnection {
			fresh = append(fresh, r.Latency)
		}
	}
	j.median, j.p99, j.p99New = Quantile(all, 0.5), Quantile(all, 0.99), Quantile(fresh, 0.99)
	return j
}

// Quantile returns the q-quantile by the nearest rank, 0 of nothing.
func Quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, max(0, int(q*float64(len(sorted))+0.9999)-1))]
}
