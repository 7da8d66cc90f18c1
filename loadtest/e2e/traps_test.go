package e2e_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/events"
)

// recreate deletes a topic and creates it again as the contract has it: it is
// another topic then.
func recreate(t *testing.T, s *scenario.Scenario, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(s.Stack.Brokers, ",")...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if _, err := admin.DeleteTopic(within(t, 20*time.Second), topic); err != nil {
		t.Fatal(err)
	}
	for _, spec := range schemas.Specs(s.Stack.Topics, 0, 1) {
		if spec.Name != topic {
			continue
		}
		configs := make(map[string]*string, len(spec.Configs))
		for k, v := range spec.Configs {
			configs[k] = &v
		}
		eventually(t, 20*time.Second, "creating "+topic, func() error {
			_, err := admin.CreateTopic(within(t, 10*time.Second), spec.Partitions, spec.Replication, configs, topic)
			if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				t.Fatal(err)
			}
			return err // that it exists: it is still being deleted
		})
	}
}

// TestCountsRecreated deletes and creates the counts topic under the running
// loop: rates come back, and nobody restarts anything.
func TestCountsRecreated(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, brokers string) {
		s, flood := floodedOn(t, brokers)
		for range 2 {
			recreate(t, s, s.Stack.Topics.Counts)
			start := time.Now()
			freshRates(t, s)
			t.Logf("fresh rates %v after the topic was recreated", time.Since(start).Round(10*time.Millisecond))
		}
		stillDropping(t, s, time.Second)
		if _, err := flood.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := s.Stack.Alive(); err != nil {
			t.Error(err)
		}
	})
}

// TestEveryTopicRecreated does that to all topics at once, as somebody does who
// starts all over, with the services running. What the topics held is gone, the
// mode and the leases too; everything that is ordered from then on works.
func TestEveryTopicRecreated(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, brokers string) {
		s, first := floodedOn(t, brokers)
		if _, err := first.Stop(); err != nil {
			t.Fatal(err)
		}
		topics := s.Stack.Topics
		for _, topic := range []string{topics.Commands, topics.Rates, topics.Status, topics.Events, topics.Counts} {
			recreate(t, s, topic)
		}
		start := time.Now()
		eventually(t, 40*time.Second, "a mode is applied by every live probe", func() error {
			return s.Enforce(within(t, 20*time.Second))
		})
		t.Logf("a command is applied and reported %v after the last topic was recreated", time.Since(start).Round(10*time.Millisecond))
		flood, err := s.Crew.Raw(traffic.RawFlood{
			Destination: lab.VictimAddress, Port: 9, UDP: true, Payload: 32, PPS: 10_000,
			Sources: traffic.SourcesOf(lab.HTTPAttackers, 4),
		}, 0)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, 30*time.Second, "a flood of other sources is dropped", func() error {
			from := mark(t, s)
			time.Sleep(50 * time.Millisecond)
			return from.allDropped(t, s)
		})
		eventually(t, 20*time.Second, "the new events topic tells of the decision", func() error {
			return told(t, s, events.KindDecision)
		})
		if _, err := flood.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := s.Stack.Alive(); err != nil {
			t.Error(err)
		}
	})
}

// told reads the events topic anew and looks for a kind.
func told(t *testing.T, s *scenario.Scenario, kind string) error {
	t.Helper()
	var log watch.Log[watch.Event]
	r, err := watch.Read(within(t, 10*time.Second), s.Stack.Brokers,
		map[string]func(watch.Record){s.Stack.Topics.Events: watch.Events(&log)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return await(3*time.Second, func() error {
		for _, e := range log.All() {
			if e.Event.Kind == kind {
				return nil
			}
		}
		return fmt.Errorf("%d events, none of them a %s", log.Len(), kind)
	})
}

// TestFrozenBroker stops the broker for a while without ending it: its
// connections stay open, and nothing answers. Nothing that is sent may be
// counted twice when it wakes up and finds everything in its buffers.
func TestFrozenBroker(t *testing.T) {
	s, flood := flooded(t)
	broker := s.Stack.Process(stack.Broker)
	if err := broker.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Signal(syscall.SIGCONT) })
	stillDropping(t, s, 12*time.Second)
	if err := broker.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	freshRates(t, s)
	t.Logf("fresh rates %v after the broker went on", time.Since(start).Round(10*time.Millisecond))
	stillDropping(t, s, time.Second)
	settle(t, s, flood)
	declared(t, s)
}

// TestLossOfOneOfThreeBrokers kills one Apache Kafka broker after the other,
// without a word of farewell, and starts it again.
func TestLossOfOneOfThreeBrokers(t *testing.T) {
	c := startCluster(t, 3)
	s, flood := floodedOn(t, c.brokers)
	for n := 1; n <= 3; n++ {
		c.whole(t)
		c.kill(t, n)
		start := time.Now()
		freshRates(t, s)
		t.Logf("broker %d: fresh rates %v after its loss", n, time.Since(start).Round(10*time.Millisecond))
		stillDropping(t, s, time.Second)
		c.restart(t, n)
		freshRates(t, s)
	}
	settle(t, s, flood)
	declared(t, s)
}

// TestOneOfThreeBrokersHangs freezes one broker after the other, and so at some
// point the active controller and the coordinator of the aggregator's group. The
// others take over as fast as this machine lets them. Rates follow the counts at
// once where the aggregator did not wait for the one that hangs in other matters as
// well; and the one that wakes up must not bring back what it had then.
func TestOneOfThreeBrokersHangs(t *testing.T) {
	c := startCluster(t, 3)
	s, flood := floodedOn(t, c.brokers)
	for n := 1; n <= 3; n++ {
		c.whole(t)
		freshRates(t, s)
		thaw := c.freeze(t, n)
		start := time.Now()
		eventually(t, 40*time.Second, "counts while a broker hangs", func() error {
			windows := s.Windows.All()
			return since(start, windows[len(windows)-1].End)
		})
		counts := time.Since(start)
		eventually(t, 10*time.Second, "rates while a broker hangs", func() error {
			rates := s.Rates.All()
			return since(start, rates[len(rates)-1].Rates.End)
		})
		t.Logf("broker %d: fresh counts %v after it hung, fresh rates %v", n, counts.Round(10*time.Millisecond), time.Since(start).Round(10*time.Millisecond))
		stillDropping(t, s, time.Second)
		thaw()
		freshRates(t, s)
	}
	settle(t, s, flood)
	declared(t, s)
}

// since wants an end that is at least a second later than start: what was on its
// way then proves nothing.
func since(start, end time.Time) error {
	if end.Before(start.Add(time.Second)) {
		return fmt.Errorf("the last window ended %v ago", time.Since(end))
	}
	return nil
}

// declared checks that what is on the counts topic twice is known to whoever
// reads the rates.
func declared(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	twice := s.Counts.Sums().Duplicates
	rates := s.Rates.All()
	r := rates[len(rates)-1]
	t.Logf("%d chunks are on the topic twice; the rates declare %d", twice, r.Rates.Duplicates)
	if int(r.Rates.Duplicates) < twice {
		t.Errorf("%d chunks are on the topic twice, the rates declare %d", twice, r.Rates.Duplicates)
	}
}
