package e2e_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/events"
)

var errorf = fmt.Errorf

// hostile is one record that somebody could write, and what the event about it
// must be.
type hostile struct {
	name   string
	topic  string
	key    []byte
	value  []byte
	kind   string // of the event; empty: no event, the record is merely odd
	reason string // must occur in the event's reason, lower case
}

func hostileRecords(s *scenario.Scenario) []hostile {
	t := s.Stack.Topics
	garbage := []byte("\x00\xff\x1b[31mgarbage\n")
	broker, _, _ := strings.Cut(s.Stack.Brokers, ":")
	block := func(name, source, reason string) hostile {
		key := "*|" + source + "|eve"
		return hostile{
			name: name, topic: t.Commands, key: []byte(key), value: []byte(lease("drop", source, "eve", "1m")),
			kind: events.KindRejectedCommand, reason: reason,
		}
	}
	why := "broker"
	if strings.HasPrefix(broker, "127.") {
		// The real Kafka listens on the loopback, which is refused as such.
		broker, why = "127.0.0.2", "loopback"
	}
	return []hostile{
		{"garbage on counts", t.Counts, []byte("victim/weir-data"), garbage, events.KindBadRecord, ""},
		{"garbage key on counts", t.Counts, garbage, garbage, events.KindBadRecord, ""},
		{"garbage on rates", t.Rates, []byte("evil/eth0"), garbage, events.KindBadRecord, ""},
		{"garbage on commands", t.Commands, []byte("*|192.0.2.77/32|eve"), garbage, events.KindRejectedCommand, ""},
		{"garbage key on commands", t.Commands, []byte("garbage"), []byte("{}"), events.KindRejectedCommand, ""},
		{"empty key on commands", t.Commands, []byte{}, []byte(lease("drop", "192.0.2.78/32", "eve", "1m")), events.KindRejectedCommand, "key"},
		{"key of another source", t.Commands, []byte("*|192.0.2.79/32|eve"), []byte(lease("drop", "192.0.2.80/32", "eve", "1m")), events.KindRejectedCommand, ""},
		{"unknown action", t.Commands, []byte("*|192.0.2.81/32|eve"), []byte(lease("explode", "192.0.2.81/32", "eve", "1m")), events.KindRejectedCommand, "action"},
		block("everything", "0.0.0.0/0", "shorter"),
		block("half of everything", "128.0.0.0/1", "shorter"),
		block("the broker", broker+"/32", why),
		block("the gateway", lab.GatewayAddress.String()+"/32", "gateway"),
		block("the victim itself", lab.VictimAddress.String()+"/32", ""),
		block("the loopback", "127.0.0.1/32", "loopback"),
		block("multicast", "224.0.0.1/32", ""),
		{"garbage on status", t.Status, []byte("evil/eth0"), garbage, "", ""},
		{"garbage on events", t.Events, garbage, garbage, "", ""},
	}
}

// TestHostileRecords writes every one of them while the loop runs: each gives
// an event with its reason, and the loop goes on.
func TestHostileRecords(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, brokers string) {
		s := enforcing(t, scenario.Options{Brokers: brokers})
		p, err := watch.NewProducer(s.Stack.Brokers)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		for _, h := range hostileRecords(s) {
			record := &kgo.Record{Topic: h.topic, Key: h.key, Value: h.value}
			offset, _, err := p.PutRecord(within(t, 10*time.Second), record)
			if err != nil {
				t.Errorf("%s: %v", h.name, err)
				continue
			}
			if h.kind == "" {
				continue
			}
			if err := await(5*time.Second, func() error { return oneEvent(s, h, record.Partition, offset) }); err != nil {
				t.Errorf("%s: %v", h.name, err)
			}
		}
		stillWhole(t, s)
		for _, h := range hostileRecords(s) {
			if h.kind == "" {
				continue
			}
			// One, and still one after all that followed.
			if n := len(eventsAbout(s, h, -1)); n > 1 && h.topic == s.Stack.Topics.Commands {
				t.Errorf("%s: %d events", h.name, n)
			}
		}
	})
}

// eventsAbout finds the events about the record at offset of h's topic, or
// with -1 about its key.
func eventsAbout(s *scenario.Scenario, h hostile, offset int64) []events.Record {
	var out []events.Record
	for _, e := range s.Events.All() {
		if e.Err != nil || e.Event.Topic != h.topic {
			continue
		}
		if e.Event.Offset == offset || offset < 0 && e.Event.Key == schemas.Printable(string(h.key), 256) {
			out = append(out, e.Event)
		}
	}
	return out
}

func oneEvent(s *scenario.Scenario, h hostile, partition int32, offset int64) error {
	var about []events.Record
	for _, e := range eventsAbout(s, h, offset) {
		if e.Partition == partition {
			about = append(about, e)
		}
	}
	if len(about) != 1 {
		return fmt.Errorf("%d events about %s/%d offset %d, want 1", len(about), h.topic, partition, offset)
	}
	e := about[0]
	if e.Kind != h.kind || e.Reason == "" || !strings.Contains(strings.ToLower(e.Reason), h.reason) {
		return fmt.Errorf("the event is %s %q, want %s with %q", e.Kind, e.Reason, h.kind, h.reason)
	}
	return nil
}

// stillWhole checks that the loop still stops a flood and that no service
// ended.
func stillWhole(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	o, err := s.Run(within(t, 20*time.Second), scenario.UDP(0), 3*time.Second, func(scenario.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if !o.Mitigated() {
		t.Errorf("afterwards a flood is not stopped: %+v", o)
	}
	if err := s.Stack.AwaitReady(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
}

// TestLargeRecords writes records of 2 MiB, which the broker's default refuses,
// and batches that grow to 20 MiB when unpacked, which it takes.
func TestLargeRecords(t *testing.T) {
	onBothBrokers(t, func(t *testing.T, brokers string) {
		s := enforcing(t, scenario.Options{Brokers: brokers})
		topics := s.Stack.Topics
		client, err := kgo.NewClient(kgo.SeedBrokers(s.Stack.Brokers), kgo.ProducerBatchMaxBytes(64<<20),
			kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.BrokerMaxWriteBytes(100<<20), kgo.ProducerLinger(0))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		for _, topic := range []string{topics.Counts, topics.Rates, topics.Commands} {
			// Compresses to some hundred bytes: a bomb that passes any limit on
			// what is stored.
			for _, size := range []int{2 << 20, 20 << 20} {
				record := &kgo.Record{Topic: topic, Key: []byte("evil/eth0"), Value: make([]byte, size)}
				if err := client.ProduceSync(within(t, 10*time.Second), record).FirstErr(); err != nil {
					t.Fatalf("%d bytes of zeros on %s: %v", size, topic, err)
				}
			}
		}
		stillWhole(t, s)
		for _, topic := range []string{topics.Counts, topics.Rates, topics.Commands} {
			err := await(10*time.Second, func() error {
				n := 0
				for _, e := range s.Events.All() {
					if e.Err == nil && e.Event.Topic == topic && e.Event.Reason != "" {
						n++
					}
				}
				if n == 0 {
					return fmt.Errorf("no event about the large records on %s", topic)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
}
