// Package run is the plumbing of every service's main: flags, configuration,
// logging, signals, and components that start in order and stop in reverse.
package run

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/weir-net/weir/services/internal/kit/config"
)

// Exit codes of a service.
const (
	ExitOK     = 0
	ExitError  = 1
	ExitConfig = 2
)

// Component is one part of a service. Run works until ctx ends, and returns nil
// then; returning earlier, with or without an error, ends the service.
type Component struct {
	Name string
	Run  func(ctx context.Context) error
}

// Service is what a main hands to Main.
type Service struct {
	Name    string // such as "weir-probe"
	Version string
	About   string // one or two sentences for -help
	Config  []config.Part
	// Build constructs the components in the order in which they start. The
	// returned close function, if not nil, runs after all have stopped.
	Build func(ctx context.Context, log *slog.Logger) (components []Component, closeAll func(), err error)
}

// Main runs the service and returns the exit code.
func Main(s Service, args []string) int {
	flags := flag.NewFlagSet(s.Name, flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	markdown := flags.Bool("help-markdown", false, "print the environment variables as a Markdown table")
	version := flags.Bool("version", false, "print the version")
	flags.Usage = func() { s.help(os.Stdout) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return ExitOK
		}
		return ExitConfig
	}
	switch {
	case *version:
		fmt.Println(s.Name, s.Version)
		return ExitOK
	case *markdown:
		config.Markdown(os.Stdout, s.Config...)
		return ExitOK
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "%s takes no arguments; it is configured by the environment, see -help\n", s.Name)
		return ExitConfig
	}
	if err := config.Load(s.Config...); err != nil {
		fmt.Fprintf(os.Stderr, "%s: bad configuration: %v\n", s.Name, err)
		return ExitConfig
	}
	log := Logger(os.Stderr).With("service", s.Name)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx, log); err != nil {
		log.Error("stopped", "error", err)
		return ExitError
	}
	log.Info("stopped")
	return ExitOK
}

func (s Service) run(ctx context.Context, log *slog.Logger) error {
	log.Info("starting", "version", s.Version)
	components, closeAll, err := s.Build(ctx, log)
	if closeAll != nil {
		defer closeAll()
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return err
	}
	return Components(ctx, log, components)
}

func (s Service) help(w io.Writer) {
	fmt.Fprintf(w, "%s %s\n\n%s\n\nUsage: %s [-help | -help-markdown | -version]\n\nEnvironment:\n", s.Name, s.Version, s.About, s.Name)
	config.Help(w, s.Config...)
	fmt.Fprintln(w, "\nExit codes: 0 stopped by a signal, 1 error, 2 bad configuration.")
}

// Logger logs text to a terminal and JSON elsewhere.
func Logger(f *os.File) *slog.Logger {
	if st, err := f.Stat(); err == nil && st.Mode()&os.ModeCharDevice != 0 {
		return slog.New(slog.NewTextHandler(f, nil))
	}
	return slog.New(slog.NewJSONHandler(f, nil))
}

// stopTimeout bounds how long one component may take to stop.
const stopTimeout = 10 * time.Second

// Components runs all until ctx ends or one of them does, then stops them in
// reverse order, each before the next, and returns the first error.
func Components(ctx context.Context, log *slog.Logger, components []Component) error {
	type running struct {
		stop context.CancelFunc
		done chan struct{}
	}
	var mu sync.Mutex
	var first error
	ended := make(chan string, len(components))
	all := make([]running, len(components))
	for i, c := range components {
		// A component outlives ctx until its turn to stop comes.
		cctx, stop := context.WithCancel(context.WithoutCancel(ctx))
		all[i] = running{stop, make(chan struct{})}
		go func() {
			defer close(all[i].done)
			if err := c.Run(cctx); err != nil && cctx.Err() == nil {
				mu.Lock()
				if first == nil {
					first = fmt.Errorf("running %s: %w", c.Name, err)
				}
				mu.Unlock()
			}
			ended <- c.Name
		}()
	}
	select {
	case <-ctx.Done():
	case name := <-ended:
		log.Info("component ended", "component", name)
	}
	for i := len(all) - 1; i >= 0; i-- {
		all[i].stop()
		select {
		case <-all[i].done:
		case <-time.After(stopTimeout):
			log.Warn("component does not stop", "component", components[i].Name)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	return first
}
