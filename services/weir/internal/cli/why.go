package cli

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/weir/internal/broker"
	"github.com/weir-net/weir/services/weir/internal/why"
)

// answer is what why has found out.
type answer struct {
	Question string          `json:"question"`
	Known    bool            `json:"known"`
	At       time.Time       `json:"at"`      // the broker's time
	Leases   []explained     `json:"leases"`  // those in force first
	Events   []events.Record `json:"events"`  // about leases that concern the question, oldest first
	Attacks  []attack        `json:"attacks"` // that these were against, oldest first
}

// explained is one lease with all that the topics say of it.
type explained struct {
	listed
	State    string       `json:"state"` // in force, lapsed, released
	Role     why.Role     `json:"role"`
	Since    time.Time    `json:"since"`
	Renewals int          `json:"renewals"`
	Released *time.Time   `json:"released_at,omitempty"`
	Probes   []probeSays  `json:"probes"`
	Beaten   []why.Beaten `json:"beaten_by,omitempty"`
	Trace    *why.Trace   `json:"trace,omitempty"`

	match commands.Match
}

// probeSays is what one interface makes of a lease.
type probeSays struct {
	Interface string     `json:"interface"`
	Mode      string     `json:"mode"`
	Effect    string     `json:"effect"` // dropping, would-drop, off, unknown, not-applied
	Packets   uint64     `json:"dropped_packets"`
	Bytes     uint64     `json:"dropped_bytes"`
	Would     uint64     `json:"would_drop_packets"`
	LastAt    *time.Time `json:"last_at,omitempty"`
}

func (a *app) whyCommand() *cobra.Command {
	var evidence bool
	var since time.Duration
	cmd := &cobra.Command{
		Use:   "why ADDRESS|PREFIX|KEY",
		Short: "Explain what is done to an address, and why: rule, numbers, evidence",
		Long: "Explain what is done to an address or a prefix, or what one lease is about, from the\n" +
			"topics: which rule and which numbers, since when, how many packets were dropped, when\n" +
			"it lapses, who issued it, whether the probes drop or only count, which allow beats it,\n" +
			"and the counts that the decision was made of, if they are still retained (an hour).\n" +
			"What has ended is told of as long as the topics have it: events for a week, attacks for\n" +
			"30 days.\n" +
			"Exit code 5 if nothing is known.",
		Example: "  weir why 203.0.113.7\n  weir why 203.0.113.0/24 -o json\n" +
			"  weir why 'interface:edge-1/eth0|203.0.113.7/32|policy'",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			q, err := why.Ask(args[0])
			if err != nil {
				return usage(err)
			}
			return a.why(cmd.Context(), q, evidence, since)
		},
	}
	cmd.Flags().DurationVar(&since, "since", 24*time.Hour, "how far back to look for events, which are kept for a week")
	cmd.Flags().BoolVar(&evidence, "evidence", true, "fetch the counts that the decision was made of")
	return cmd
}

func (a *app) why(ctx context.Context, q why.Question, evidence bool, since time.Duration) error {
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	statuses, err := a.statuses(ctx, c)
	if err != nil {
		return err
	}
	reading, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	log, set := why.NewLog(q), &leaseSet{byKey: map[string]commands.Lease{}, newest: newest(statuses)}
	err = c.Follow(reading, c.Topics.Commands, broker.FromStart(), func(r *kgo.Record) bool {
		set.newest = latest(set.newest, r.Timestamp)
		log.Observe(r)
		return true
	}, func() bool { return false })
	if err != nil {
		return err
	}
	set.see(time.Now())
	out := answer{Question: q.String(), At: set.now.UTC(), Leases: []explained{}, Events: []events.Record{}, Attacks: []attack{}}
	for _, s := range log.Stories(set.now) {
		if s.Role == why.RoleAny && s.State(set.now) != "in force" {
			continue
		}
		x := explain(s, log, set.now, statuses)
		if evidence && s.Lease.Evidence != nil && s.Role != why.RoleAny {
			x.Trace = a.trace(ctx, c, &s.Lease)
		}
		out.Known = out.Known || s.Role != why.RoleAny
		out.Leases = append(out.Leases, x)
	}
	if out.Events, err = a.eventsOf(ctx, c, q, since); err != nil {
		return err
	}
	if out.Attacks, err = a.attacksOf(ctx, c, q, &out); err != nil {
		return err
	}
	out.Known = out.Known || len(out.Events) > 0 || len(out.Attacks) > 0
	if a.json() {
		err = a.printJSON(out)
	} else {
		err = a.printWhy(&out)
	}
	if err == nil && !out.Known {
		return exit(ExitNothing, "")
	}
	return err
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// explain joins a lease's story with what the probes say of it.
func explain(s *why.Story, log *why.Log, now time.Time, statuses map[string]seenStatus) explained {
	x := explained{listed: listedOf(&s.Lease, now, statuses), State: s.State(now), Role: s.Role,
		Since: s.Since.UTC(), Renewals: s.Renewals, Probes: []probeSays{}, match: s.Lease.Match}
	if !s.Released.IsZero() {
		at := s.Released.UTC()
		x.Released = &at
	}
	if x.State == "in force" {
		x.Beaten = log.Beaters(&s.Lease, now)
	}
	for _, key := range slices.Sorted(maps.Keys(statuses)) {
		st := statuses[key]
		if !s.Lease.Target.Matches(st.Host, st.Interface) {
			continue
		}
		p := probeSays{Interface: key, Mode: st.Mode, Effect: effect(&st, s, x.State, now)}
		for _, d := range st.Filter.Drops {
			if d.Key != s.Lease.Key {
				continue
			}
			p.Packets, p.Bytes, p.Would = d.Packets, d.Bytes, d.Would
			if !d.LastAt.IsZero() {
				at := d.LastAt.UTC()
				p.LastAt = &at
			}
		}
		x.Probes = append(x.Probes, p)
	}
	return x
}

// effect says what an interface does with the packets that a lease takes.
func effect(st *seenStatus, s *why.Story, state string, now time.Time) string {
	switch {
	case state != "in force":
		return "ended"
	case st.Stopped || now.Sub(st.at) >= schemas.StaleAfter:
		return "unknown" // the maps may well filter on without the probe
	case !st.Applied(status.ComponentFilter, s.Lease.Offset):
		return "not-applied"
	case s.Lease.Action == commands.Allow:
		return "passing"
	case st.Mode == string(commands.ModeOff):
		return "off"
	case st.Mode == string(commands.ModeObserve) || s.Lease.Action == commands.Observe:
		return "would-drop"
	case s.Lease.Action == commands.RateLimit:
		return "limiting"
	}
	return "dropping"
}

// trace fetches the counts that a decision was made of. What is gone is said in
// the trace; it is no error.
func (a *app) trace(ctx context.Context, c *broker.Client, l *commands.Lease) *why.Trace {
	t := why.NewTrace(l.Evidence, c.Topics.Counts)
	if t.Interface == "" || t.BootID == "" {
		t.Problem = "the issuer names no counts record"
		return t
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if err := a.fetchTrace(ctx, c, t, l); err != nil {
		t.Problem = err.Error()
		if errors.Is(err, broker.ErrGone) {
			t.Problem = "the counts are no longer retained"
		}
	}
	return t
}

func (a *app) fetchTrace(ctx context.Context, c *broker.Client, t *why.Trace, l *commands.Lease) error {
	r, err := c.ReadAt(ctx, t.Topic, t.Partition, t.Offset)
	if err != nil {
		return err
	}
	if t.Problem = t.Fits(r); t.Problem != "" {
		return nil
	}
	from, err := c.OffsetAt(ctx, t.Topic, t.Partition, r.Timestamp.Add(-t.Reach(l.Evidence)))
	if err != nil {
		return err
	}
	err = c.ReadSpan(ctx, t.Topic, t.Partition, min(from, t.Offset), t.Offset+1, func(r *kgo.Record) bool {
		t.Take(&l.Match, r)
		return true
	})
	t.Close(l.Evidence)
	return err
}
