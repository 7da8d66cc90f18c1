package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// fatal is an error that waiting does not mend.
type fatal struct{ error }

func (f fatal) Unwrap() error { return f.error }

// poll calls ready until it returns nil, a fatal error, or limit is over.
func poll(ctx context.Context, limit time.Duration, what string, ready func() error) error {
	ctx, stop := context.WithTimeout(ctx, limit)
	defer stop()
	for {
		err := ready()
		var f fatal
		switch {
		case err == nil:
			return nil
		case errors.As(err, &f):
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w", what, ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// CLI runs the weir command against the stack's broker and returns its
// standard output and error together.
func (s *Stack) CLI(ctx context.Context, args ...string) (string, error) {
	return s.Run(ctx, nil, filepath.Join(s.Bin, "weir"), args...)
}

// Run runs any command with the broker's address in the environment.
func (s *Stack) Run(ctx context.Context, stdin io.Reader, path string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "WEIR_KAFKA_BROKERS="+s.Brokers)
	cmd.Stdin = stdin
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("running %s %s: %w", filepath.Base(path), strings.Join(args, " "), err)
	}
	return out.String(), nil
}

// LogPath is the file that a service logs to.
func (s *Stack) LogPath(service Service) string {
	return filepath.Join(s.Dir, string(service)+".log")
}

// LogTail returns the last lines of a service's log, indented; of one that ends
// in a Go panic, the lines about the panic and not the hundreds about its
// goroutines.
func (s *Stack) LogTail(service Service, lines int) string {
	b, err := os.ReadFile(s.LogPath(service))
	if err != nil {
		return "  (no log: " + err.Error() + ")"
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i, line := range all {
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			all = all[:min(len(all), i+lines)]
			break
		}
	}
	return "  " + strings.Join(all[max(0, len(all)-lines):], "\n  ")
}

// FindBin returns the directory of the built binaries: that of this program
// if they lie beside it, else ./bin of the repository.
func FindBin() (string, error) {
	var tried []string
	if exe, err := os.Executable(); err == nil {
		tried = append(tried, filepath.Dir(exe))
	}
	for _, dir := range []string{"bin", "../bin", "../../bin"} {
		if abs, err := filepath.Abs(dir); err == nil {
			tried = append(tried, abs)
		}
	}
	for _, dir := range tried {
		if _, err := os.Stat(filepath.Join(dir, string(Probe))); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no %s in %s: run make build", Probe, strings.Join(tried, ", "))
}

func readAll(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 4<<20))
	return string(b), err
}

// Watch returns nil when ctx ends, or an error as soon as a service ends by
// itself.
func (s *Stack) Watch(ctx context.Context) error {
	for {
		if err := s.Alive(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Alive returns an error if a service that was started has ended by itself.
func (s *Stack) Alive() error {
	for service := range s.running {
		if err := s.ended(service); err != nil {
			return fmt.Errorf("%w\n%s", err, s.LogTail(service, 20))
		}
	}
	return nil
}
