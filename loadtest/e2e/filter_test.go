package e2e_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/crew"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas"
)

// blocked is the source that these tests block.
var blocked = lab.UDPAttackers.Addr().Next()

// filterRig is a probe alone, a steady stream of packets from one source, and
// a producer of commands.
type filterRig struct {
	*scenario.Scenario
	producer *watch.Producer
	flood    *crew.Flood
}

func newFilterRig(t *testing.T, brokers string) *filterRig {
	t.Helper()
	r := &filterRig{Scenario: enforcing(t, scenario.Options{Brokers: brokers, Services: []stack.Service{stack.Probe}})}
	var err error
	if r.producer, err = watch.NewProducer(r.Stack.Brokers); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.producer.Close)
	r.flood, err = r.Crew.Raw(traffic.RawFlood{
		Destination: lab.VictimAddress, Port: 9, UDP: true, Payload: 10, PPS: 2000, Sources: []netip.Addr{blocked},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "the stream", func() error {
		if r.flood.Last().Packets == 0 {
			return fmt.Errorf("nothing was sent")
		}
		return nil
	})
	return r
}

// command writes a command, or with an empty value its tombstone, and returns
// when it was acknowledged.
func (r *filterRig) command(t *testing.T, key, value string) time.Duration {
	t.Helper()
	var v []byte
	if value != "" {
		v = []byte(value)
	}
	_, acknowledged, err := r.producer.Put(within(t, 10*time.Second), r.Stack.Topics.Commands, schemas.SchemaCommands, []byte(key), v)
	if err != nil {
		t.Fatal(err)
	}
	return acknowledged
}

// lease is the value of a lease on one source.
func lease(action, source, issuer, ttl string) string {
	return fmt.Sprintf(`{"v":1,"action":%q,"match":{"source":%q},"ttl":%q,"issuer":%q,"reason":"test"}`, action, source, ttl, issuer)
}

// expect waits until packets are dropped, or are not, and returns when that
// was seen first.
func (r *filterRig) expect(t *testing.T, dropping bool, limit time.Duration) time.Duration {
	t.Helper()
	const steady = 40 * time.Millisecond // eighty packets of the stream
	last, since := drops(t, r.Scenario), traffic.BootTime()
	for deadline := time.Now().Add(limit + steady); time.Now().Before(deadline); time.Sleep(500 * time.Microsecond) {
		n := drops(t, r.Scenario)
		now := traffic.BootTime()
		switch {
		case n > last && dropping:
			return now
		case n > last:
			last, since = n, now
		case !dropping && now-since > steady:
			return since
		}
	}
	t.Fatalf("after %v packets are still dropped: %v, want %v", limit, !dropping, dropping)
	return 0
}

// TestCommandReachesXDP blocks and releases by writing records, as any client
// may: within 200 ms of the acknowledgement.
func TestCommandReachesXDP(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, brokers string) {
		r := newFilterRig(t, brokers)
		r.expect(t, false, time.Second)
		key := "*|" + blocked.String() + "/32|me"
		value := lease("drop", blocked.String()+"/32", "me", "1m")
		var blocking, releasing []time.Duration
		for range 5 {
			acknowledged := r.command(t, key, value)
			blocking = append(blocking, r.expect(t, true, 2*time.Second)-acknowledged)
			acknowledged = r.command(t, key, "")
			releasing = append(releasing, r.expect(t, false, 2*time.Second)-acknowledged)
		}
		soon(t, "from the acknowledgement to the first drop", blocking)
		soon(t, "from the tombstone's acknowledgement to the last drop", releasing)
	})
}

// soon holds the median against the promise: a single time may be that of a
// machine that does something else.
func soon(t *testing.T, what string, times []time.Duration) {
	t.Helper()
	sorted := slices.Sorted(slices.Values(times))
	if median := sorted[len(sorted)/2]; median > 200*time.Millisecond {
		t.Errorf("%s: %v, want 200 ms at most (of %v)", what, median, sorted)
	}
}

func TestAllowBeatsBlock(t *testing.T) {
	r := newFilterRig(t, "")
	source := blocked.String() + "/32"
	r.command(t, "*|"+source+"|one", lease("drop", source, "one", "1m"))
	r.expect(t, true, 2*time.Second)
	// A wider prefix, an earlier and a later one: whatever the order, allow wins.
	r.command(t, "*|198.51.100.0/24|two", lease("allow", "198.51.100.0/24", "two", "1m"))
	r.expect(t, false, 2*time.Second)
	r.command(t, "*|"+source+"|three", lease("drop", source, "three", "1m"))
	r.command(t, "*|198.51.0.0/16|three", lease("drop", "198.51.0.0/16", "three", "1m"))
	r.expect(t, false, 2*time.Second)
	r.command(t, "*|198.51.100.0/24|two", "")
	r.expect(t, true, 2*time.Second)
	for _, key := range []string{"*|" + source + "|one", "*|" + source + "|three", "*|198.51.0.0/16|three"} {
		r.expect(t, true, 2*time.Second)
		r.command(t, key, "")
	}
	r.expect(t, false, 2*time.Second)
}

// TestLeaseEndsWithEverythingKilled kills the probe and the broker while a
// lease is in force: XDP goes on dropping, and stops when the lease lapses.
func TestLeaseEndsWithEverythingKilled(t *testing.T) {
	r := newFilterRig(t, "")
	source := blocked.String() + "/32"
	const ttl = 4 * time.Second
	written := r.command(t, "*|"+source+"|me", lease("drop", source, "me", ttl.String()))
	r.expect(t, true, 2*time.Second)
	for _, service := range []stack.Service{stack.Probe, stack.Broker} {
		if err := r.Stack.Kill(service); err != nil {
			t.Fatal(err)
		}
	}
	for traffic.BootTime() < written+ttl-time.Second {
		r.expect(t, true, 500*time.Millisecond)
	}
	ended := r.expect(t, false, 3*time.Second)
	if off := ended - (written + ttl); off < -time.Second || off > time.Second {
		t.Errorf("the lease ended %v after its time", off)
	}
}

// TestKillSwitch switches to off and observe and back.
func TestKillSwitch(t *testing.T) {
	r := newFilterRig(t, "")
	source := blocked.String() + "/32"
	r.command(t, "*|"+source+"|me", lease("drop", source, "me", "1m"))
	r.expect(t, true, 2*time.Second)
	for _, mode := range []string{"off", "observe"} {
		cli(t, r.Scenario, "mode", mode)
		r.expect(t, false, time.Second)
		cli(t, r.Scenario, "mode", "enforce")
		r.expect(t, true, time.Second)
	}
}

// TestCLIBlocksAndWaits uses the command that people use.
func TestCLIBlocksAndWaits(t *testing.T) {
	r := newFilterRig(t, "")
	out := cli(t, r.Scenario, "block", blocked.String(), "--ttl", "1m", "--reason", "test")
	if n := drops(t, r.Scenario); n == 0 {
		// It waits until the lease is applied, so that a packet later it drops.
		r.expect(t, true, 500*time.Millisecond)
	}
	if !strings.Contains(out, "1 of 1") {
		t.Errorf("weir block says %q, want that 1 of 1 has applied it", out)
	}
	if out := cli(t, r.Scenario, "list"); !strings.Contains(out, blocked.String()) {
		t.Errorf("weir list does not name %s:\n%s", blocked, out)
	}
	cli(t, r.Scenario, "unblock", blocked.String())
	r.expect(t, false, 500*time.Millisecond)
}
