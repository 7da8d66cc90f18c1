package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

func mustPrefix(t *testing.T, s string) netip.Prefix {
	t.Helper()
	p, err := commands.ParsePrefix(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestTopics(t *testing.T) {
	l := newLab(t) // has applied them
	r := l.run("topics", "check")
	if r.code != ExitOK || strings.Count(r.out, "is as it must be") != len(schemas.Specs(l.topics, 0, 1)) {
		t.Errorf("check after apply: %+v", r)
	}
	if r := l.run("topics", "apply"); r.code != ExitOK || strings.Count(r.out, "is as it must be") != len(schemas.Specs(l.topics, 0, 1)) {
		t.Errorf("apply twice: %+v", r)
	}
	if r := l.run("topics", "check", "--topic-prefix", "other."); r.code != ExitDiffers || strings.Count(r.out, "is missing") != len(schemas.Specs(l.topics, 0, 1)) {
		t.Errorf("check without topics: %+v", r)
	}

	// Somebody changes a configuration: check says so, apply repairs it.
	admin := kadm.NewClient(l.client())
	_, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "cleanup.policy", Value: kadm.StringPtr("delete")}}, l.topics.Commands)
	if err != nil {
		t.Fatal(err)
	}
	r = l.run("topics", "check")
	if r.code != ExitDiffers || !strings.Contains(r.out, "! "+l.topics.Commands+": cleanup.policy is delete, want compact,delete") {
		t.Errorf("check: %+v", r)
	}
	var states []broker.TopicState
	r = l.run("topics", "apply", "-o", "json")
	r.into(t, &states)
	if r.code != ExitOK || len(states) != len(schemas.Specs(l.topics, 0, 1)) || len(states[2].Changed) != 1 || states[2].Changed[0] != "cleanup.policy: delete → compact,delete" {
		t.Errorf("apply: %+v", r)
	}
	if r := l.run("topics", "check"); r.code != ExitOK {
		t.Errorf("check after repair: %+v", r)
	}

	// What apply must not change by itself.
	r = l.run("topics", "apply", "--partitions", "6")
	if r.code != ExitDiffers || !strings.Contains(r.out, "! "+l.topics.Counts+": 12 partitions, want 6") {
		t.Errorf("other partitions: %+v", r)
	}
}

func TestTopicsCreatesWhatTheContractSays(t *testing.T) {
	l := newLab(t)
	for _, spec := range schemas.Specs(l.topics, 0, 1) {
		details, err := kadm.NewClient(l.client()).ListTopics(t.Context(), spec.Name)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(details[spec.Name].Partitions); n != int(spec.Partitions) {
			t.Errorf("%s has %d partitions, want %d", spec.Name, n, spec.Partitions)
		}
	}
}

// putRates writes the rates of one interface.
func (l *lab) putRates(host string, pps float64, at time.Time, change ...func(*rates.Record)) {
	l.t.Helper()
	n := uint64(pps)
	r := rates.Record{Host: host, Interface: "eth0", BootID: "b", Seq: 1, Start: at.Add(-time.Second), End: at, PPS: pps, BPS: pps * 512, Complete: true,
		Window1s: rates.Counts{Packets: n, Bytes: 64 * n, ByClass: [schemas.NumClasses]uint64{n}}, Sources1s: 2,
		Top: []rates.Source{{Source: netip.MustParseAddr("203.0.113.7"), PPS: pps, BPS: pps * 512, Window1s: rates.Counts{Packets: n, ByClass: [schemas.NumClasses]uint64{n}}}}}
	for _, c := range change {
		c(&r)
	}
	value, err := rates.Encode(r)
	if err != nil {
		l.t.Fatal(err)
	}
	l.putAt(l.topics.Rates, r.Key(), value, at)
}

func TestTopOnce(t *testing.T) {
	l := newLab(t)
	l.needsProducerTime()
	var none []json.RawMessage
	if r := l.run("top", "-o", "json"); r.code != ExitOK || r.out != "[]\n" {
		t.Errorf("nothing yet: %+v", r)
	}
	now := time.Now()
	l.putRates("gone", 1, now.Add(-time.Hour))
	l.putRates("a", 100, now.Add(-time.Second))
	l.putRates("a", 2_500, now)
	l.putRates("b", 40, now, func(r *rates.Record) { r.Stale = true; r.LostWindows = 3 })
	l.put(l.topics.Rates, "bad/eth0", []byte("garbage"))
	r := l.run("top", "-o", "json")
	r.into(t, &none)
	if len(none) != 2 {
		t.Errorf("%d interfaces, want the latest of a and b: %s", len(none), r.out)
	}
	r = l.run("top")
	for _, want := range []string{"2 interfaces  2.5k packets/s", "a/eth0", "syn:100%", "stale,3 lost", "203.0.113.7"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out, "\x1b") || strings.Contains(r.out, "gone") {
		t.Errorf("escapes or old interfaces off a terminal:\n%s", r.out)
	}
}

// screen is a terminal that a test can look at.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// waitFor has the patience that a busy machine asks for.
func (s *screen) waitFor(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(s.text(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q never came, but %q", text, s.text())
		}
	}
}

func TestTopLiveOnATerminal(t *testing.T) {
	l := newLab(t)
	s := &screen{}
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int)
	env := l.env(s, s)
	env.Height = func() int { return 24 }
	go func() { code <- Run(ctx, env, []string{"top", "--interval", "100ms"}) }()
	s.waitFor(t, "0 interfaces")
	l.putRates("a", 100, time.Now())
	s.waitFor(t, "1 interfaces  100 packets/s")
	l.putRates("a", 7_000, time.Now())
	s.waitFor(t, "1 interfaces  7.0k packets/s")
	s.waitFor(t, "\x1b[H")
	cancel()
	if got := <-code; got != ExitOK {
		t.Errorf("exit code %d after Ctrl-C", got)
	}
	if !strings.HasSuffix(s.text(), "\x1b[?25h\x1b[?1049l") {
		t.Error("the screen and the cursor are not given back")
	}
}

func TestTopFitsTheScreen(t *testing.T) {
	var records []seenRates
	for i := range 40 {
		r := rates.Record{Host: "h", Interface: fmt.Sprintf("eth%d", i), PPS: float64(i)}
		for j := range 3 {
			r.Top = append(r.Top, rates.Source{Source: netip.AddrFrom4([4]byte{10, 0, byte(i), byte(j)}), PPS: float64(i)})
		}
		records = append(records, seenRates{Record: r})
	}
	for _, height := range []int{1, 8, 24, 60, 200} {
		got := strings.Split(strings.TrimSuffix(string(drawTop(records, 15, height)), "\n"), "\n")
		if len(got) > max(8, height) {
			t.Errorf("%d lines on a screen of %d", len(got), height)
		}
		if !strings.HasPrefix(got[3], "h/eth39 ") {
			t.Errorf("the heaviest interface is not first: %q", got[3])
		}
		if height < 60 && !strings.Contains(got[0], "not shown") {
			t.Errorf("height %d: %q does not say that lines are missing", height, got[0])
		}
	}
	if got := strings.Count(string(drawTop(records, 15, 0)), "\n"); got != 40+15+5 {
		t.Errorf("%d lines without a screen, want all", got)
	}
}

func TestTopFollow(t *testing.T) {
	l := newLab(t)
	s := &screen{}
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int)
	go func() { code <- Run(ctx, l.env(s, s), []string{"top", "-o", "json", "--follow"}) }()
	l.putRates("a", 100, time.Now())
	s.waitFor(t, `"pps":100`)
	l.putRates("b", 200, time.Now())
	s.waitFor(t, `"pps":200`)
	cancel()
	if got := <-code; got != ExitOK {
		t.Errorf("exit code %d after Ctrl-C", got)
	}
}
