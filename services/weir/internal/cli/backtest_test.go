package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/services/internal/detect/rules"
	"github.com/weir-net/weir/services/internal/kit/testkit"
	"github.com/weir-net/weir/services/weir/internal/backtest"
)

// rulesFile writes the embedded rules with one replacement.
func rulesFile(t *testing.T, old, replacement string) string {
	t.Helper()
	text := string(rules.Defaults())
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in the rules", old)
	}
	name := filepath.Join(t.TempDir(), "new.yaml")
	if err := os.WriteFile(name, []byte(strings.Replace(text, old, replacement, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// without returns JSON without what differs from run to run.
func without(t *testing.T, out string, names ...string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	for _, n := range names {
		delete(v, n)
	}
	return v
}

const higher = "{metric: syn, at_least: 1000}"

// TestRecordAndBacktest: what is recorded gives what the topics give, which is
// what the policy did, and the rules that would have done otherwise are told.
func TestRecordAndBacktest(t *testing.T) {
	l := newLab(t)
	c := l.newChain()
	c.tick(syn("198.51.100.9", 2))
	for range 12 {
		c.tick(syn("198.51.100.9", 2), syn("203.0.113.7", 110))
	}
	file := filepath.Join(t.TempDir(), "film.weir")
	var rec recorded
	r := l.run("record", "--out", file, "--from", "1m", "--duration", "60500ms", "-o", "json")
	r.into(t, &rec)
	if r.code != ExitOK || rec.Counts != 13 || rec.Commands == 0 || rec.Bytes == 0 {
		t.Fatalf("record: %+v", r)
	}
	if r := l.run("record", "--out", file, "--duration", "1s"); r.code != ExitError || !strings.Contains(r.err, "exists") {
		t.Errorf("over another recording: %+v", r)
	}

	strict := rulesFile(t, "{metric: syn, at_least: 100}", higher)
	fromFile := l.run("backtest", "--rules", strict, "--file", file, "-o", "json", "--brokers", "127.0.0.1:1")
	fromTopics := l.run("backtest", "--rules", strict, "--from", "1m", "-o", "json")
	if fromFile.code != ExitOK || fromTopics.code != ExitOK {
		t.Fatalf("file %+v\ntopics %+v", fromFile, fromTopics)
	}
	if a, b := without(t, fromFile.out, "performance"), without(t, fromTopics.out, "performance"); !reflect.DeepEqual(a, b) {
		t.Errorf("another result from the file than from the topics:\n%v\n%v", a, b)
	}
	var got tested
	fromFile.into(t, &got)
	if !got.Differs || got.Windows != 13 || got.Changes[backtest.OnlyOld] != 1 || got.Performance.RecordsPerSecond <= 0 {
		t.Fatalf("got %+v", got.Result)
	}
	var x *backtest.Line
	for i := range got.Leases {
		if got.Leases[i].Match == "203.0.113.7/32" {
			x = &got.Leases[i]
		}
	}
	// The old rules are those that the policy had: the same decision on the same
	// counts record.
	if x == nil || x.Change != backtest.OnlyOld || x.Old.Rule != "R1" || x.Done == nil || x.Done.Rule != "R1" || x.Old.Evidence.Seq != c.firstSeq("203.0.113.7/32") {
		t.Errorf("line %+v", x)
	}

	r = l.run("backtest", "--rules", strict, "--file", file, "--fail-on-change")
	if r.code != ExitError || r.err != "" {
		t.Errorf("--fail-on-change: %+v", r)
	}
	for _, want := range []string{"1 interfaces, 13 windows", "RULE  OLD", "\n-     203.0.113.7/32", "R1 drop at ", "by the old rules only", "times real time", "cannot be replayed"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	same := rulesFile(t, "version: 1", "# a remark\nversion: 1")
	if r := l.run("backtest", "--rules", same, "--file", file, "--fail-on-change"); r.code != ExitOK || strings.Contains(r.out, "\n- ") {
		t.Errorf("the same rules: %+v", r)
	}
	if r := l.run("backtest", "--rules", same, "--file", file, "--all"); !strings.Contains(r.out, "\n=     203.0.113.7/32") {
		t.Errorf("--all: %+v", r)
	}
	if r := l.run("backtest", "--rules", strict, "--file", file, "--protected", "203.0.113.0/24", "--fail-on-change"); r.code != ExitOK {
		t.Errorf("--protected: %+v", r)
	}
	if r := l.run("backtest", "--rules", strict, "--from", "10m", "--to", "5m", "--fail-on-change"); r.code != ExitOK || !strings.Contains(r.out, "0 windows") {
		t.Errorf("before all that: %+v", r)
	}

	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.weir")
	if err := os.WriteFile(cut, whole[:len(whole)-8], 0o600); err != nil {
		t.Fatal(err)
	}
	if r := l.run("backtest", "--rules", strict, "--file", cut); r.code != ExitOK || !strings.Contains(r.out, "it was cut off") {
		t.Errorf("cut off: %+v", r)
	}
}

// firstSeq is the window that the first decision on a match was made of.
func (c *chain) firstSeq(match string) uint64 {
	for _, d := range c.made {
		if d.Command.Match.String() == match {
			return d.Command.Evidence.Seq
		}
	}
	return 0
}

func TestBacktestRefuses(t *testing.T) {
	l := newLab(t)
	broken := rulesFile(t, "renew_share: 0.5", "renew_share: 5")
	good := rulesFile(t, "version: 1", "# a remark\nversion: 1")
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{ExitUsage, "new.yaml:", []string{"--rules", broken, "--from", "1h"}},
		{ExitUsage, "name rules to try", []string{"--from", "1h"}},
		{ExitUsage, "either --from or --file", []string{"--rules", good}},
		{ExitUsage, "either --from or --file", []string{"--rules", good, "--from", "1h", "--file", "x"}},
		{ExitUsage, "--from \"soon\"", []string{"--rules", good, "--from", "soon"}},
		{ExitUsage, "is not before", []string{"--rules", good, "--from", "1m", "--to", "1h"}},
		{ExitUsage, "--scope", []string{"--rules", good, "--from", "1h", "--scope", "all"}},
		{ExitUsage, "--protected", []string{"--rules", good, "--from", "1h", "--protected", "x"}},
		{ExitError, "opening the history", []string{"--rules", good, "--file", "/nonexistent"}},
		{ExitError, "no file of weir record", []string{"--rules", good, "--file", good}},
	} {
		if r := l.run(append([]string{"backtest"}, c.args...)...); r.code != c.code || !strings.Contains(r.err, c.want) {
			t.Errorf("%q: %+v, want %d and %q", c.args, r, c.code, c.want)
		}
	}
	for _, args := range [][]string{{"--duration", "1s"}, {"--out", "x", "--duration", "0s"}, {"--out", "x", "--from", "soon"}} {
		if r := l.run(append([]string{"record"}, args...)...); r.code != ExitUsage {
			t.Errorf("record %q: %+v", args, r)
		}
	}
}

// TestRecordUntilInterrupted: what comes while it runs is recorded, and Ctrl-C
// leaves a whole file.
func TestRecordUntilInterrupted(t *testing.T) {
	l := newLab(t)
	c := l.newChain()
	c.tick(syn("203.0.113.7", 1))
	file := filepath.Join(t.TempDir(), "film.weir")
	ctx, cancel := context.WithCancel(t.Context())
	s := &screen{}
	code := make(chan int, 1)
	go func() {
		code <- Run(ctx, l.env(s, s), []string{"record", "--out", file, "--from", "1m", "--duration", "1h"})
	}()
	good := rulesFile(t, "version: 1", "# a remark\nversion: 1")
	testkit.Eventually(t, 20*time.Second, "new windows are in the file while it is written", func() bool {
		c.tick(syn("203.0.113.7", 1))
		r := l.run("backtest", "--rules", good, "--file", file, "-o", "json")
		var got tested
		return r.code == ExitOK && json.Unmarshal([]byte(r.out), &got) == nil && got.Windows >= 4 && got.CutOff
	})
	cancel()
	if got := <-code; got != ExitOK {
		t.Errorf("exit code %d: %s", got, s.text())
	}
	s.waitFor(t, "records of counts")
	if r := l.run("backtest", "--rules", good, "--file", file); r.code != ExitOK || strings.Contains(r.out, "cut off") {
		t.Errorf("after Ctrl-C: %+v", r)
	}
}
