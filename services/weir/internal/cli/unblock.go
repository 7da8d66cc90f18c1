package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

func (a *app) unblockCommand() *cobra.Command {
	var f matchFlags
	var w waitFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "unblock [SOURCE]",
		Short: "Release a lease of yours (also an allow), and wait until it is so",
		Long: "Release your lease on exactly this match and target, whatever its action. Leases of\n" +
			"other issuers stay, unless --all-issuers says otherwise: a policy that still sees its\n" +
			"reason will block again, use \"weir allow\" against that.",
		Example: "  weir unblock 203.0.113.7\n  weir unblock 203.0.113.7 --all-issuers",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, match, err := f.match(args)
			if err != nil {
				return err
			}
			return a.release(cmd.Context(), target, match, all, w)
		},
	}
	f.add(cmd)
	w.add(cmd)
	cmd.Flags().BoolVar(&all, "all-issuers", false, "release every issuer's lease on it")
	return cmd
}

// release writes tombstones for the leases on match.
func (a *app) release(ctx context.Context, target schemas.Target, match commands.Match, all bool, f waitFlags) error {
	issuer, err := a.whoami()
	if err != nil {
		return err
	}
	c, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	set, err := a.leases(ctx, c)
	if err != nil {
		return err
	}
	var release, others []string // keys; issuers of leases that stay
	for _, l := range set.live() {
		switch {
		case l.Action == commands.SetMode || l.Match != match:
		case l.Target == target && (all || l.Issuer == issuer):
			release = append(release, l.Key)
		default:
			others = append(others, fmt.Sprintf("%s by %s at %s", l.Action, l.Issuer, l.Target))
		}
	}
	if len(release) == 0 {
		if len(others) > 0 {
			return exit(ExitNothing, "%s has no lease on %s at %s; there are: %s", issuer, match, target, strings.Join(others, ", "))
		}
		return exit(ExitNothing, "there is no lease on %s at %s", match, target)
	}
	out := outcome{Key: release[0], verb: "released"}
	if len(release) > 1 {
		out.Keys = slices.Clone(release)
	}
	if len(others) > 0 {
		out.Note = "leases that stay: " + strings.Join(others, ", ")
	}
	records := make([]record, 0, len(release))
	for _, key := range release {
		records = append(records, record{key: []byte(key)})
	}
	return a.writeTo(ctx, c, target, records, &out, f, nil)
}
