package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/broker"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/schemas/events"
)

// double is a second probe that goes by the name of the first: on another
// machine, so to speak, on an interface of the same name.
type double struct {
	s       *scenario.Scenario
	process *lab.Process
}

func (d *double) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(d.s.Stack.Dir, "double.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.process, err = d.s.Lab.Start(lab.Command{
		Name: "double", Namespace: lab.Clients, Path: filepath.Join(bin(t), string(stack.Probe)), Stdout: log, Stderr: log,
		Env: []string{
			d.s.Stack.Environment(), "WEIR_PROBE_HOST=" + stack.Host, "WEIR_PROBE_INTERFACES=" + lab.DataInterface,
			"WEIR_PROBE_PIN_PATH=" + d.s.Stack.PinPath + "/double", "WEIR_PROBE_HTTP_ADDRESS=off",
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

var ownBoot = regexp.MustCompile(`this one \(boot ([0-9a-f]+)\) publishes nothing`)

// yielded lists the boot ids of the probes that have told of another of their
// name, in that order.
func yielded(t *testing.T, s *scenario.Scenario) []string {
	t.Helper()
	var out []string
	for _, e := range s.Events.All() {
		if e.Err != nil || e.Event.Kind != events.KindDuplicateName {
			continue
		}
		m := ownBoot.FindStringSubmatch(e.Event.Reason)
		if m == nil {
			t.Fatalf("an event that does not say who yields: %q", e.Event.Reason)
		}
		out = append(out, m[1])
	}
	return out
}

// publishers are the boot ids of the counts windows from number n on.
func publishers(s *scenario.Scenario, n int) map[string]int {
	out := map[string]int{}
	for _, w := range s.Windows.All()[n:] {
		out[w.BootID]++
	}
	return out
}

// onlyOne waits until 8 more windows are there, and returns the boot id that
// they have in common.
func onlyOne(t *testing.T, s *scenario.Scenario) (boot string) {
	t.Helper()
	from := s.Windows.Len()
	eventually(t, 40*time.Second, "counts flow", func() error {
		if n := s.Windows.Len() - from; n < 8 {
			return fmt.Errorf("%d windows", n)
		}
		return nil
	})
	all := publishers(s, from)
	if len(all) != 1 {
		t.Fatalf("windows by boot id: %v; want all of one", all)
	}
	for boot = range all {
	}
	return boot
}

func awaitYields(t *testing.T, s *scenario.Scenario, n int) []string {
	t.Helper()
	eventually(t, 40*time.Second, "the event about a duplicate name", func() error {
		if got := len(yielded(t, s)); got < n {
			return fmt.Errorf("%d events, want %d", got, n)
		}
		return nil
	})
	return yielded(t, s)
}

// TestTwoProbesOfOneName runs a second probe by the name of the first, and
// restarts either, in every way: there is always one that publishes.
func TestTwoProbesOfOneName(t *testing.T) {
	s := setup(t, scenario.Options{Brokers: startEmbedded(t), Services: []stack.Service{stack.Probe}})
	first := onlyOne(t, s)
	d := &double{s: s}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the second probe:\n%s", s.Stack.LogTail("double", 30))
		}
	})
	d.start(t)
	eventually(t, time.Minute, "the second attaches", func() error {
		if !strings.Contains(s.Stack.LogTail("double", 30), "attached to") {
			return errors.New("it has not said so")
		}
		return nil
	})
	time.Sleep(6 * time.Second) // it comes to the brokers when it is no newcomer any more
	if err := s.Lab.Relay(lab.Clients, s.Stack.Brokers); err != nil {
		t.Fatal(err)
	}
	if second := awaitYields(t, s, 1)[0]; second == first {
		t.Fatal("the first yields")
	}
	if onlyOne(t, s) != first {
		t.Fatal("the first does not go on")
	}

	restart := func(what string, end func() error) {
		t.Helper()
		if err := end(); err != nil {
			t.Fatal(err)
		}
		if err := s.Stack.Launch(stack.Probe); err != nil {
			t.Fatal(err)
		}
		if err := s.Stack.Await(within(t, time.Minute), stack.Probe); err != nil {
			t.Fatalf("after %s: %v", what, err)
		}
		if boot := onlyOne(t, s); boot == first || boot == yielded(t, s)[0] {
			t.Fatalf("after %s: %s publishes", what, boot)
		}
	}
	restart("a kill of the first", func() error { return s.Stack.Kill(stack.Probe) })
	restart("a stop of the first", func() error { return s.Stack.Stop(stack.Probe, 10*time.Second) })
	if y := yielded(t, s); len(y) != 1 {
		t.Fatalf("%d events, want still one: %v", len(y), y)
	}

	if err := d.process.Kill(); err != nil {
		t.Fatal(err)
	}
	first = onlyOne(t, s)
	d.start(t)
	awaitYields(t, s, 2)
	if onlyOne(t, s) != first {
		t.Fatal("a restart of the second stops the first")
	}

	if err := d.process.Stop(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := s.Stack.Stop(stack.Probe, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	d.start(t)
	if err := s.Stack.Launch(stack.Probe); err != nil {
		t.Fatal(err)
	}
	loser := awaitYields(t, s, 3)[2]
	if winner := onlyOne(t, s); winner == loser {
		t.Fatal("who yields publishes")
	}
	if y := yielded(t, s); len(y) != 3 {
		t.Errorf("%d events, want one by each that yielded: %v", len(y), y)
	}
}

// startEmbedded runs an embedded broker on the loopback, from where it can be
// relayed into both namespaces of a lab.
func startEmbedded(t *testing.T) string {
	t.Helper()
	bin(t) // skip first where nothing runs anyway
	b, err := broker.Start(within(t, 10*time.Second), broker.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b.Address()
}
