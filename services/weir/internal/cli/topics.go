package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

func (a *app) topicsCommand() *cobra.Command {
	var partitions int32
	var replication int16
	cmd := &cobra.Command{Use: "topics", Short: "Create Weir's topics, or compare them with the contract", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.PersistentFlags().Int32Var(&partitions, "partitions", schemas.DefaultPartitions, "of counts and rates; fixed once they exist")
	cmd.PersistentFlags().Int16Var(&replication, "replication", 0, "copies of each record (default: 3, or 1 where there are fewer than 3 brokers)")
	run := func(cmd *cobra.Command, apply bool) error {
		if partitions < 1 || replication < 0 {
			return usage(fmt.Errorf("--partitions %d --replication %d: want at least 1", partitions, replication))
		}
		return a.topics(cmd.Context(), partitions, replication, apply)
	}
	cmd.AddCommand(
		&cobra.Command{Use: "apply", Short: "Create what is missing, set what differs, and print the changes", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd, true) }},
		&cobra.Command{Use: "check", Short: "Print what differs from the contract; exit code 6 if anything does", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd, false) }},
	)
	return cmd
}

func (a *app) topics(ctx context.Context, partitions int32, replication int16, apply bool) error {
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if replication == 0 {
		brokers, err := c.Brokers(ctx)
		if err != nil {
			return err
		}
		replication = defaultReplication(brokers)
	}
	specs := schemas.Specs(c.Topics, partitions, replication)
	act := c.CheckTopics
	if apply {
		act = c.ApplyTopics
	}
	states, err := act(ctx, specs)
	if err != nil {
		return err
	}
	if a.json() {
		if err := a.printJSON(states); err != nil {
			return err
		}
	} else {
		for i, s := range states {
			a.printTopic(s, specs[i])
		}
	}
	for _, s := range states {
		if !s.OK() {
			return exit(ExitDiffers, "")
		}
	}
	return nil
}

// defaultReplication returns how many copies of each record so many brokers hold.
func defaultReplication(brokers int) int16 {
	if brokers >= 3 {
		return 3
	}
	return 1
}

func (a *app) printTopic(s broker.TopicState, spec schemas.TopicSpec) {
	switch {
	case s.Missing:
		fmt.Fprintf(a.Out, "- %s is missing\n", s.Name)
	case s.Created:
		fmt.Fprintf(a.Out, "+ %s created: %d partitions, replication %d, %s\n", s.Name, spec.Partitions, spec.Replication, spec.Configs[schemas.ConfigCleanupPolicy])
	case len(s.Changed) == 0 && len(s.Diff) == 0:
		fmt.Fprintf(a.Out, "  %s is as it must be\n", s.Name)
	}
	for _, line := range s.Changed {
		fmt.Fprintf(a.Out, "~ %s: %s\n", s.Name, line)
	}
	for _, line := range s.Diff {
		fmt.Fprintf(a.Out, "! %s\n", line)
	}
}
