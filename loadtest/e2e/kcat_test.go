package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/schemas/rates"
)

// kcat runs Debian's kcat. Without it the test skips on a laptop and fails in
// CI.
func kcat(t *testing.T, brokers, stdin string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("needs kcat")
		}
		t.Skip("needs kcat")
	}
	cmd := exec.CommandContext(within(t, 20*time.Second), path, append([]string{"-b", brokers}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kcat %v: %v\n%s", args, err, stderr.String())
	}
	return out
}

// TestKcatBlocksAndReleases does what the README shows: a person with nothing
// but kcat blocks a source and releases it.
func TestKcatBlocksAndReleases(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, brokers string) {
		r := newFilterRig(t, brokers)
		topic := r.Stack.Topics.Commands
		key := "*|" + blocked.String() + "/32|me"
		// kcat ends when its record is acknowledged.
		var blocking, releasing []time.Duration
		for range 3 {
			kcat(t, r.Stack.Brokers, key+"\t"+lease("drop", blocked.String()+"/32", "me", "10m")+"\n", "-P", "-t", topic, "-K", "\t")
			acknowledged := traffic.BootTime()
			blocking = append(blocking, r.expect(t, true, 2*time.Second)-acknowledged)
			kcat(t, r.Stack.Brokers, key+"\t\n", "-P", "-t", topic, "-K", "\t", "-Z")
			acknowledged = traffic.BootTime()
			releasing = append(releasing, r.expect(t, false, 2*time.Second)-acknowledged)
		}
		soon(t, "from the end of kcat to the first drop", blocking)
		soon(t, "from the end of kcat with the tombstone to the last drop", releasing)
	})
}

// TestKcatReadsRates reads the table as a third party does.
func TestKcatReadsRates(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, brokers string) {
		s := setup(t, scenario.Options{Brokers: brokers, Services: []stack.Service{stack.Probe, stack.Aggregator}})
		flood, err := s.Crew.Raw(traffic.RawFlood{
			Destination: lab.VictimAddress, Port: 9, UDP: true, Payload: 10, PPS: 1000, Sources: traffic.SourcesOf(lab.UDPAttackers, 1),
		}, 0)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "rates with the flood by kcat", func() error {
			// Not -e: on a table that is written four times a second kcat waits
			// for each next record and never sees the end.
			out := kcat(t, s.Stack.Brokers, "", "-C", "-t", s.Stack.Topics.Rates, "-o", "-1", "-c", "1", "-q", "-f", "%k\t%s\n")
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			key, value, _ := strings.Cut(lines[len(lines)-1], "\t")
			if key != s.Stack.Key {
				return errorf("the last key is %q, want %q", key, s.Stack.Key)
			}
			r, err := rates.Decode([]byte(value))
			if err != nil {
				return err
			}
			if r.PPS < 500 || len(r.Top) == 0 || r.Top[0].Source != blocked {
				return errorf("%.0f pps, top %v", r.PPS, r.Top)
			}
			return nil
		})
		if _, err := flood.Stop(); err != nil {
			t.Fatal(err)
		}
	})
}
