package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
)

// The rules of this test: the embedded ones, whose leases end soon after the
// attack, and the same without an answer to it.
const (
	briefRules = "version: 1\nlease: {first: 20s, quiet: 5s}\n"
	tameRules  = briefRules + "overrides:\n  - set: {sources: [{id: R3, all: [{metric: udp, at_least: 10000000}]}]}\n"
)

// explained is what weir why -o json says, as far as the test asks.
type explained struct {
	Known  bool `json:"known"`
	Leases []struct {
		Key      string             `json:"key"`
		Match    string             `json:"match"`
		Action   commands.Action    `json:"action"`
		Issuer   string             `json:"issuer"`
		Reason   string             `json:"reason"`
		State    string             `json:"state"`
		Since    time.Time          `json:"since"`
		Expires  time.Time          `json:"expires_at"`
		Evidence *commands.Evidence `json:"evidence"`
		Probes   []struct {
			Interface string `json:"interface"`
			Effect    string `json:"effect"`
			Packets   uint64 `json:"dropped_packets"`
			Would     uint64 `json:"would_drop_packets"`
		} `json:"probes"`
		Trace *struct {
			Topic     string `json:"topic"`
			Partition int32  `json:"partition"`
			Offset    int64  `json:"offset"`
			Retained  bool   `json:"retained"`
			Problem   string `json:"problem"`
			Sum       struct {
				Packets uint64 `json:"packets"`
			} `json:"sum"`
		} `json:"trace"`
	} `json:"leases"`
	Attacks []struct {
		Key string `json:"key"`
	} `json:"attacks"`
}

// tested is what weir backtest -o json says, as far as the test asks.
type tested struct {
	Windows uint64         `json:"windows"`
	Differs bool           `json:"differs"`
	Changes map[string]int `json:"changes"`
	Leases  []compared     `json:"leases"`
}

// compared is one lease of a backtest.
type compared struct {
	Change string   `json:"change"`
	Key    string   `json:"key"`
	Old    *ordered `json:"old"`
	New    *ordered `json:"new"`
	Done   *struct {
		Rule  string    `json:"rule"`
		First time.Time `json:"first"`
	} `json:"done"`
}

// ordered is what one side of a backtest ordered.
type ordered struct {
	Rule     string             `json:"rule"`
	Action   commands.Action    `json:"action"`
	Measured float64            `json:"measured"`
	Evidence *commands.Evidence `json:"evidence"`
}

// logged is a line of weir log -o json.
type logged struct {
	Key string `json:"key"`
	attacks.Record
}

// fromJSON runs weir with -o json and reads what it prints.
func fromJSON[T any](t *testing.T, s *scenario.Scenario, args ...string) (out T) {
	t.Helper()
	text := cli(t, s, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("weir %s: %v in\n%s", strings.Join(args, " "), err, text)
	}
	return out
}

// TestDecisionsAreExplained floods a host and asks everything that answers why:
// the lease, the counts that it was made of, the attack, and the same rules and
// others over the history.
func TestDecisionsAreExplained(t *testing.T) {
	dir := t.TempDir()
	brief, tame := filepath.Join(dir, "brief.yaml"), filepath.Join(dir, "tame.yaml")
	for name, text := range map[string]string{brief: briefRules, tame: tameRules} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := enforcing(t, scenario.Options{Env: map[stack.Service][]string{stack.Policy: {"WEIR_POLICY_RULES=" + brief}}})
	topics := followTopics(t, s)
	began := time.Now()
	o, err := s.Run(within(t, 20*time.Second), scenario.UDP(0), 3*time.Second, func(scenario.Progress) {})
	if err != nil {
		t.Fatal(err)
	}
	if o.Decision == nil || o.Decision.Command.Evidence == nil {
		t.Fatalf("no decision with evidence: %+v", o)
	}
	key := string(o.Decision.Key)
	source := o.Decision.Command.Match.Source.Addr()

	w := fromJSON[explained](t, s, "why", source.String())
	checkWhy(t, w, key, o.Decision)
	checkText(t, cli(t, s, "why", source.String()), source.String(), "R3", "1s", "drop", "policy")
	ev := o.Decision.Command.Evidence
	var window counts.Record
	eventually(t, 5*time.Second, "the counts record of the evidence", func() (err error) {
		window, err = topics.at(ev.Partition, ev.Offset)
		return err
	})
	checkCause(t, topics, &window, ev, source)

	history := filepath.Join(dir, "history.weir")
	checkBacktests(t, s, brief, tame, history, key, ev, began)
	checkAttack(t, s, topics, w.Attacks[0].Key, o, key)
}

// checkText looks for words.
func checkText(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

// checkWhy holds the answer against the command that was decided.
func checkWhy(t *testing.T, w explained, key string, d *watch.Decision) {
	t.Helper()
	if !w.Known || len(w.Leases) == 0 || len(w.Attacks) != 1 {
		t.Fatalf("answered %+v", w)
	}
	l := w.Leases[0]
	ev := l.Evidence
	if l.Key != key || l.State != "in force" || l.Action != commands.Drop || l.Issuer != "policy" || !strings.HasPrefix(l.Reason, "R3 ") {
		t.Errorf("the lease: %+v", l)
	}
	if ev == nil || ev.Rule != "R3" || ev.Measured < 1000 || ev.Threshold != 1000 || ev.Window != "1s" || ev.Offset < 0 {
		t.Errorf("evidence %+v, want rule R3, at least 1000 measured of 1000 in 1s", ev)
	}
	if age := l.Since.Sub(d.Timestamp); age.Abs() > time.Second || !l.Expires.After(time.Now()) {
		t.Errorf("since %v, until %v; it was written at %v", l.Since, l.Expires, d.Timestamp)
	}
	if len(l.Probes) != 1 || l.Probes[0].Interface != stack.Host+"/"+lab.DataInterface || l.Probes[0].Effect != "dropping" || l.Probes[0].Packets == 0 {
		t.Errorf("probes %+v", l.Probes)
	}
	tr := l.Trace
	if tr == nil || !tr.Retained || tr.Problem != "" || tr.Offset != ev.Offset || tr.Partition != ev.Partition || float64(tr.Sum.Packets) < ev.Measured*0.99 {
		t.Errorf("trace %+v of %+v", tr, ev)
	}
}

// checkBacktests runs the rules in force and others over the topics, and once
// more over a recording of them.
func checkBacktests(t *testing.T, s *scenario.Scenario, brief, tame, history, key string, ev *commands.Evidence, began time.Time) {
	t.Helper()
	from := began.Add(-5 * time.Second).UTC().Format(time.RFC3339)
	over := fromJSON[tested](t, s, "backtest", "--baseline", brief, "--rules", tame, "--from", from)
	i := slices.IndexFunc(over.Leases, func(l compared) bool { return l.Key == key })
	if i < 0 {
		t.Fatalf("the backtest knows nothing of %s: %+v", key, over)
	}
	switch l := over.Leases[i]; {
	case l.Old == nil || l.Done == nil:
		t.Errorf("the rules in force decide otherwise than they did: %+v", l)
	case l.Old.Rule != "R3" || l.Old.Action != commands.Drop || l.Done.Rule != "R3" || *l.Old.Evidence != *ev:
		t.Errorf("the rules in force ordered %+v of %+v; done was %+v of %+v", l.Old, l.Old.Evidence, l.Done, ev)
	case l.New != nil || l.Change != "only-old" || !over.Differs:
		t.Errorf("the tame rules ordered %+v (%s)", l.New, l.Change)
	}
	if again := fromJSON[tested](t, s, "backtest", "--rules", brief, "--from", from); again.Differs || again.Changes["same"] != over.Changes["only-old"] {
		t.Errorf("the rules in force and the embedded ones, which decide alike: %+v", again.Changes)
	}
	cli(t, s, "record", "--out", history, "--from", from, "--duration", time.Since(began.Add(-5*time.Second)).String())
	recorded := fromJSON[tested](t, s, "backtest", "--baseline", brief, "--rules", tame, "--file", history)
	if a, b := asText(t, recorded.Leases), asText(t, over.Leases); a != b || recorded.Windows == 0 {
		t.Errorf("over the recording:\n%s\nover the topics:\n%s", a, b)
	}
}

func asText(t *testing.T, x any) string {
	t.Helper()
	b, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkAttack waits for the end of the attack and holds weir log against the
// topic, and both against what was sent.
func checkAttack(t *testing.T, s *scenario.Scenario, topics *followed, key string, o scenario.Outcome, lease string) {
	t.Helper()
	var r attacks.Record
	eventually(t, 60*time.Second, "the end of the attack", func() (err error) {
		if r, err = topics.attack(key); err == nil && !r.Ended() {
			err = fmt.Errorf("it goes on: %+v", r)
		}
		return err
	})
	most := fastest(s)
	lasted := r.End.Sub(r.Start)
	switch {
	case r.Host != stack.Host || r.Interface != lab.DataInterface || r.Rule != "R3" || r.Vector != "UDP flood from one source":
		t.Errorf("attack %+v", r)
	case r.Action != commands.Drop || r.Mode != "enforce" || r.Sources != 4 || r.Leases != 4:
		t.Errorf("of 4 sources, all dropped: %+v", r)
	case lasted < time.Second || lasted > 15*time.Second:
		t.Errorf("the flood took 3 s, the attack from %v to %v", r.Start, r.End)
	case r.PeakPPS < 0.5*most || r.PeakPPS > 1.1*most:
		t.Errorf("at its peak %.0f packets/s; the interface had up to %.0f", r.PeakPPS, most)
	case r.Dropped > o.Dropped || r.Dropped < o.Dropped*9/10:
		t.Errorf("%d packets dropped; the driver says %d", r.Dropped, o.Dropped)
	case r.Evidence == nil || r.Evidence.Rule != "R3" || !slices.ContainsFunc(r.Top, func(l attacks.Lease) bool { return l.Key == lease && l.Packets > 0 }):
		t.Errorf("evidence %+v, leases %+v", r.Evidence, r.Top)
	}
	list := fromJSON[[]logged](t, s, "log")
	if len(list) != 1 || list[0].Key != key || asText(t, list[0].Record) != asText(t, r) {
		t.Errorf("weir log says\n%s\nthe topic\n%s", asText(t, list), asText(t, r))
	}
	checkText(t, cli(t, s, "log"), "after ", "R3", "UDP flood from one source", stack.Host+"/"+lab.DataInterface, "drop")
}
