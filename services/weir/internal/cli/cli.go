// Package cli is the weir command: people and programs block, release, watch
// and set up through it. Everything that it does goes through topics, so any
// Kafka client could do the same.
package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

// Env is what the command needs of its surroundings.
type Env struct {
	Out, Err io.Writer
	// Height returns the lines of the terminal that Out is, 0 if it is none.
	Height   func() int
	Getenv   func(string) string
	Hostname func() (string, error)
	Version  string
	// Connect returns the options of a connection and the topic names.
	// brokers and prefix override the environment where they are not empty.
	Connect func(brokers []string, prefix string) ([]kgo.Opt, schemas.Topics, error)
	// ConfigHelp is the text about environment variables in -help.
	ConfigHelp string
}

// app is one run of the command.
type app struct {
	Env
	brokers []string
	prefix  string
	output  string
	issuer  string
	timeout time.Duration
	started bool // arguments were parsed: an error is no longer about usage
}

// Run runs the command line args and returns the exit code.
func Run(ctx context.Context, env Env, args []string) int {
	a := &app{Env: env}
	root := a.root()
	root.SetArgs(longHelp(args))
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.started {
		err = usage(err)
	}
	if err != nil && err.Error() != "" && exitCode(err) != ExitOK {
		fmt.Fprintf(env.Err, "weir: %v\n", err)
	}
	return exitCode(err)
}

// longHelp lets -help and -version be spelt as in Weir's services.
func longHelp(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if arg == "-help" || arg == "-version" {
			out[i] = "-" + arg
		}
	}
	return out
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "weir",
		Short:         "Block, watch and set up Weir over its Kafka topics",
		Long:          "Block, watch and set up Weir over its Kafka topics.\n\n" + exitHelp + "\n\n" + a.ConfigHelp,
		Version:       a.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if a.output != "table" && a.output != "json" {
				return fmt.Errorf("-o %s: want table or json", a.output)
			}
			a.started = true
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := root.PersistentFlags()
	f.StringSliceVar(&a.brokers, "brokers", nil, "brokers, host:port each (default: WEIR_KAFKA_BROKERS)")
	f.StringVar(&a.prefix, "topic-prefix", "", "what topic names start with (default: WEIR_KAFKA_TOPIC_PREFIX, else weir.)")
	f.StringVarP(&a.output, "output", "o", "table", "table or json")
	f.StringVar(&a.issuer, "issuer", "", "who issues commands (default: WEIR_ISSUER, else user@host)")
	f.DurationVar(&a.timeout, "timeout", 10*time.Second, "give up on the brokers after this long")
	root.AddCommand(
		a.blockCommand(), a.allowCommand(), a.unblockCommand(), a.listCommand(),
		a.topCommand(), a.ringCommand(), a.statusCommand(), a.modeCommand(), a.topicsCommand(), a.versionCommand(),
		a.whyCommand(), a.logCommand(), a.recordCommand(), a.backtestCommand(), a.doctorCommand(),
	)
	root.CompletionOptions.HiddenDefaultCmd = true
	return root
}

// open connects to the brokers.
func (a *app) open(ctx context.Context) (*broker.Client, error) {
	opts, topics, err := a.Connect(a.brokers, a.prefix)
	if err != nil {
		return nil, usage(err)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return broker.Open(ctx, opts, topics)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if a.json() {
				return a.printJSON(map[string]string{"version": a.Version})
			}
			_, err := fmt.Fprintln(a.Out, "weir", a.Version)
			return err
		},
	}
}
