package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/status"
)

// lab is a broker with Weir's topics: an embedded one, or the real one that
// WEIR_TEST_BROKERS names, with topics of its own for each test.
type lab struct {
	t        *testing.T
	brokers  []string
	real     bool
	prefix   string
	topics   schemas.Topics
	producer *kgo.Client
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{t: t, prefix: schemas.DefaultPrefix}
	if brokers := os.Getenv("WEIR_TEST_BROKERS"); brokers != "" {
		l.brokers, l.real = strings.Split(brokers, ","), true
		l.prefix = fmt.Sprintf("test-%s-%d.", strings.ToLower(t.Name()), time.Now().UnixNano())
	} else {
		c, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		l.brokers = c.ListenAddrs()
	}
	l.topics = schemas.NewTopics(l.prefix)
	l.producer = l.client()
	if r := l.run("topics", "apply"); r.code != ExitOK {
		t.Fatalf("topics apply: %+v", r)
	}
	if l.real {
		t.Cleanup(l.deleteTopics)
	}
	return l
}

// deleteTopics leaves a real broker as it was.
func (l *lab) deleteTopics() {
	_, err := kadm.NewClient(l.producer).DeleteTopics(context.Background(),
		l.topics.Counts, l.topics.Rates, l.topics.Commands, l.topics.Status, l.topics.Events, l.topics.Attacks)
	if err != nil {
		l.t.Error(err)
	}
}

// needsProducerTime skips a test that makes up timestamps: a real broker stamps
// records itself, as the contract wants.
func (l *lab) needsProducerTime() {
	if l.real {
		l.t.Skip("a real broker does not let a test choose timestamps")
	}
}

// result is what one run of the command left.
type result struct {
	code     int
	out, err string
}

// run runs the command as an operator named alice would.
func (l *lab) run(args ...string) result { return l.runWith(nil, args...) }

func (l *lab) runWith(change func(*Env), args ...string) result {
	var out, errOut bytes.Buffer
	env := l.env(&out, &errOut)
	if change != nil {
		change(&env)
	}
	code := Run(l.t.Context(), env, args)
	return result{code, out.String(), errOut.String()}
}

func (l *lab) env(out, errOut io.Writer) Env {
	return Env{
		Out: out, Err: errOut, Version: "test", Height: func() int { return 0 },
		Getenv:   func(k string) string { return map[string]string{"WEIR_ISSUER": "alice"}[k] },
		Hostname: func() (string, error) { return "desk", nil },
		Connect: func(brokers []string, prefix string) ([]kgo.Opt, schemas.Topics, error) {
			if len(brokers) == 0 {
				brokers = l.brokers
			}
			if prefix == "" {
				prefix = l.prefix
			}
			return []kgo.Opt{kgo.SeedBrokers(brokers...), kgo.MetadataMinAge(50 * time.Millisecond)}, schemas.NewTopics(prefix), nil
		},
	}
}

// into reads the JSON that the command printed.
func (r result) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.out), v); err != nil {
		t.Fatalf("%v in %q (stderr %q)", err, r.out, r.err)
	}
}

func (l *lab) client(opts ...kgo.Opt) *kgo.Client {
	l.t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(l.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(c.Close)
	return c
}

// put writes one record to partition 0 of topic.
func (l *lab) put(topic, key string, value []byte) { l.putAt(topic, key, value, time.Time{}) }

// putAt writes one record with a timestamp of its own. Probes call it from
// their goroutines, so it does not end the test.
func (l *lab) putAt(topic, key string, value []byte, at time.Time) {
	l.t.Helper()
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: value, Timestamp: at}
	if err := l.producer.ProduceSync(context.Background(), r).FirstErr(); err != nil {
		l.t.Error(err)
	}
}

// records reads all of topic.
func (l *lab) records(topic string) []*kgo.Record {
	l.t.Helper()
	c := l.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))
	var out []*kgo.Record
	for {
		ctx, cancel := context.WithTimeout(l.t.Context(), 300*time.Millisecond)
		f := c.PollFetches(ctx)
		cancel()
		if len(f.Records()) == 0 {
			return out
		}
		out = append(out, f.Records()...)
	}
}

// probe stands in for a probe: it applies commands and reports its status.
type probe struct {
	lab    *lab
	mu     sync.Mutex
	record status.Record
	deaf   bool             // never applies anything
	refuse string           // rejects every command, with this reason
	leases map[string]int64 // by key, the offset
}

// startProbe runs a probe with one interface, eth0, until the test ends. It
// returns once the first status is written.
func (l *lab) startProbe(host string, change ...func(*probe)) *probe {
	l.t.Helper()
	p := &probe{lab: l, leases: map[string]int64{}, record: status.Record{
		Host: host, Interface: "eth0", Direction: "ingress", BootID: "boot-" + host, Mode: "enforce", XDPMode: "native", Version: "test",
		Components: map[string]status.Component{status.ComponentFilter: {AppliedOffset: -1}},
		Filter:     status.Filter{Capacity: 1000, Verdicts: map[string]uint64{}}, BrokerReachable: true,
	}}
	for _, c := range change {
		c(p)
	}
	p.publish()
	if p.deaf {
		return p
	}
	client := l.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topics.Commands: {0: kgo.NewOffset().AtStart()}}), kgo.FetchMaxWait(100*time.Millisecond))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Add(1)
	go func() {
		defer done.Done()
		for ctx.Err() == nil {
			for _, r := range client.PollFetches(ctx).Records() {
				p.apply(r)
			}
		}
	}()
	l.t.Cleanup(func() { cancel(); done.Wait() })
	return p
}

func (p *probe) apply(r *kgo.Record) {
	p.mu.Lock()
	c, err := commands.Decode(r.Key, r.Value)
	switch {
	case commands.IsTombstone(r.Value):
		delete(p.leases, string(r.Key))
	case err != nil || p.refuse != "":
		p.record.Filter.Rejected++
		if err == nil {
			err = fmt.Errorf("%s", p.refuse)
		}
		p.event(events.Record{Kind: events.KindRejectedCommand, Reason: err.Error(), Offset: r.Offset})
	case c.Action == commands.SetMode:
		p.record.Mode = string(c.Mode)
	case c.Target.Matches(p.record.Host, p.record.Interface):
		p.leases[string(r.Key)] = r.Offset
	}
	p.record.Filter.Leases = len(p.leases)
	p.record.Components = map[string]status.Component{status.ComponentFilter: {AppliedOffset: r.Offset, Ready: true}}
	p.mu.Unlock()
	p.publish()
}

func (p *probe) event(e events.Record) {
	e.At, e.Service, e.Host, e.Severity, e.Topic = time.Now(), "probe", p.record.Host, events.Warning, p.lab.topics.Commands
	value, err := events.Encode(e)
	if err != nil {
		p.lab.t.Error(err)
	}
	p.lab.put(p.lab.topics.Events, e.RecordKey(), value)
}

// publish writes the status.
func (p *probe) publish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.record.At = time.Now()
	value, err := status.Encode(p.record)
	if err != nil {
		p.lab.t.Error(err)
		return
	}
	p.lab.put(p.lab.topics.Status, p.record.Key(), value)
}

// set changes the status and publishes it.
func (p *probe) set(change func(*status.Record)) {
	p.mu.Lock()
	change(&p.record)
	p.mu.Unlock()
	p.publish()
}
