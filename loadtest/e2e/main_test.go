// Package e2e_test runs Weir as a whole: its own binaries as processes, a real
// kernel with XDP on a veth, a broker, and nothing faked in between.
package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
)

// programs are built from the repository, each in its own module.
var programs = map[string]string{ // directory: name of the binary
	"../../services/probe":      "weir-probe",
	"../../services/aggregator": "weir-aggregator",
	"../../services/policy":     "weir-policy",
	"../../services/ring":       "weir-ring",
	"../../services/weir":       "weir",
	"../cmd/embedded-broker":    "embedded-broker",
	"../cmd/loadtest":           "loadtest",
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := built.remove(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// built is the directory of the binaries, made by the first test that needs it.
var built binaries

type binaries struct {
	once sync.Once
	dir  string
	err  error
}

func (b *binaries) build() (string, error) {
	b.once.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "weir-bin-"); b.err != nil {
			return
		}
		var failed []error
		for dir, name := range programs {
			cmd := exec.Command("go", "build", "-o", filepath.Join(b.dir, name), ".")
			cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
			if out, err := cmd.CombinedOutput(); err != nil {
				failed = append(failed, fmt.Errorf("building %s: %w\n%s", name, err, out))
			}
		}
		b.err = errors.Join(failed...)
	})
	return b.dir, b.err
}

func (b *binaries) remove() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

// bin returns the directory of the binaries: WEIR_BIN, or one into which they
// are built first. It skips without root on a
// laptop, and fails without it in CI.
func bin(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	if dir := os.Getenv("WEIR_BIN"); dir != "" {
		return dir
	}
	dir, err := built.build()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// labID makes an id that no other running test has.
func labID(t *testing.T) string {
	t.Helper()
	ids.Lock()
	defer ids.Unlock()
	ids.next++
	return fmt.Sprintf("e%x%c", os.Getpid(), 'a'+rune(ids.next%26))
}

var ids struct {
	sync.Mutex
	next int
}

// within returns a context that ends before the test binary's own limit.
func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), limit)
	t.Cleanup(stop)
	return ctx
}

// eventually polls until check returns nil.
func eventually(t *testing.T, limit time.Duration, what string, check func() error) {
	t.Helper()
	if err := await(limit, check); err != nil {
		t.Fatalf("%s: after %v: %v", what, limit, err)
	}
}

func await(limit time.Duration, check func() error) error {
	for deadline := time.Now().Add(limit); ; time.Sleep(2 * time.Millisecond) {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// setup builds a lab with everything running, on the given broker ("" for an
// embedded one), and prints the services' logs if the test fails.
func setup(t *testing.T, o scenario.Options) *scenario.Scenario {
	t.Helper()
	o.Bin, o.ID = bin(t), labID(t)
	s, err := scenario.Setup(within(t, time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			printLogs(t, s.Stack)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func printLogs(t *testing.T, s *stack.Stack) {
	t.Helper()
	for _, service := range []stack.Service{stack.Broker, stack.Probe, stack.Aggregator, stack.Policy} {
		t.Logf("%s:\n%s", service, s.LogTail(service, 12))
	}
}

// enforcing is setup with the probe dropping.
func enforcing(t *testing.T, o scenario.Options) *scenario.Scenario {
	t.Helper()
	s := setup(t, o)
	if err := s.Enforce(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	return s
}

// cli runs weir and fails the test if it fails.
func cli(t *testing.T, s *scenario.Scenario, args ...string) string {
	t.Helper()
	out, err := s.Stack.CLI(within(t, 20*time.Second), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return strings.TrimSpace(out)
}

// drops reads how many packets XDP has dropped.
func drops(t *testing.T, s *scenario.Scenario) uint64 {
	t.Helper()
	n, err := s.Drops.Drops()
	if err != nil {
		t.Fatal(err)
	}
	return n
}
