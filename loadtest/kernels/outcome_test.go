package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// good is what the console says when all is well.
const good = `[    0.1] some kernel message
GUEST up 6.1.0-1-amd64
=== RUN   TestA
    --- PASS: TestA/one (0.00s)
--- PASS: TestA (0.00s)
ATTACH {"device":"veth","mode":"native","got":"native","expected":true}
ATTACH {"device":"lo","mode":"native","got":"","expected":false,"error":"no support"}
FEATURE {"name":"arena","needed":false,"have":false}
FEATURE {"name":"bpf_loop","needed":true,"have":true}
TAKEOVER {"ok":true}
GUEST done ok=true
`

func outcomeOf(t *testing.T, console string) *outcome {
	t.Helper()
	o := &outcome{target: target{name: "6.1", release: "bookworm"}}
	if err := o.read(strings.NewReader(strings.ReplaceAll(console, "\n", "\r\n"))); err != nil {
		t.Fatal(err)
	}
	o.judge()
	return o
}

func TestGoodKernel(t *testing.T) {
	o := outcomeOf(t, good)
	if len(o.problems) != 0 || o.passed != 2 || o.kernel != "6.1.0-1-amd64" || o.missing() != "arena" {
		t.Errorf("%+v", o)
	}
	table := tables([]*outcome{o})
	for _, want := range []string{"6.1.0-1-amd64", "veth", "refused", "arena"} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in the table\n%s", want, table)
		}
	}
}

// TestBadKernels takes one thing after the other away from a good kernel.
func TestBadKernels(t *testing.T) {
	for _, c := range []struct{ name, old, new, problem string }{
		{"a failed test", "--- PASS: TestA (", "--- FAIL: TestA (", "failed: TestA"},
		{"a failed part", "    --- PASS: TestA/one", "    --- FAIL: TestA/one", "failed: TestA/one"},
		{"a skipped test", "--- PASS: TestA (", "--- SKIP: TestA (", "skipped: TestA"},
		{"no test", "--- PASS", "", "no test ran"},
		{"a mode that does not work", `"got":"native","expected":true`, `"got":"","expected":true,"error":"broken"`, "broken"},
		{"a mode that works by surprise", `"got":"","expected":false,"error":"no support"`, `"got":"native","expected":false`, "possible"},
		{"a feature that is needed", `"needed":true,"have":true`, `"needed":true,"have":false`, "missing: bpf_loop"},
		{"no takeover", `{"ok":true}`, `{"ok":false}`, "trial"},
		{"a panic", "GUEST done ok=true", "Kernel panic - not syncing", "end"},
		{"a failure of the guest", "ok=true", "ok=false", "end"},
		{"no boot", good, "", "come up"},
	} {
		console := strings.ReplaceAll(good, c.old, c.new)
		if console == good {
			t.Fatalf("%s: %q is not in the example", c.name, c.old)
		}
		o := outcomeOf(t, console)
		if !slices.ContainsFunc(o.problems, func(p string) bool { return strings.Contains(p, c.problem) }) {
			t.Errorf("%s: problems %q, want one of %q", c.name, o.problems, c.problem)
		}
	}
}

// TestExcuse lets a test be skipped for want of TCX, on a kernel that has none.
func TestExcuse(t *testing.T) {
	skipped := "    wire_test.go:161: this kernel has no TCX\n--- SKIP: TestTCX (0.01s)\nTAKEOVER"
	old := outcomeOf(t, strings.ReplaceAll(good, "TAKEOVER", skipped))
	if len(old.problems) != 0 || old.excused != 1 {
		t.Errorf("%+v", old)
	}
	recent := outcomeOf(t, strings.NewReplacer("TAKEOVER", skipped, "6.1.0", "6.12.0").Replace(good))
	if len(recent.problems) != 1 || !strings.Contains(recent.problems[0], "skipped: TestTCX") {
		t.Errorf("%+v", recent)
	}
	const said = "    a_test.go:1: this kernel has no TCX\n"
	parts := said + said + "--- PASS: TestB (0.01s)\n    --- SKIP: TestB/x (0.01s)\n    --- SKIP: TestB/y (0.01s)\nTAKEOVER"
	if o := outcomeOf(t, strings.ReplaceAll(good, "TAKEOVER", parts)); len(o.problems) != 0 || o.excused != 2 {
		t.Errorf("%+v", o)
	}
	twice := outcomeOf(t, strings.ReplaceAll(good, "TAKEOVER", strings.ReplaceAll(skipped, "\nTAKEOVER", "\n--- SKIP: TestMute (0.01s)\nTAKEOVER")))
	if len(twice.problems) != 1 || !strings.Contains(twice.problems[0], "skipped: TestMute") {
		t.Errorf("%+v", twice)
	}
}

func TestChoose(t *testing.T) {
	if all, err := choose(""); err != nil || len(all) != 4 {
		t.Errorf("%v %v", all, err)
	}
	if some, err := choose("running,6.12-rt"); err != nil || len(some) != 2 || some[1].name != "6.12-rt" {
		t.Errorf("%v %v", some, err)
	}
	if _, err := choose("5.4"); err == nil {
		t.Error("a kernel that is not there was chosen")
	}
}

// TestArchive holds an archive against the format's description, byte by byte.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := archive{out: &b}
	a.entry("init", modeFile, 0, 0, []byte("hello"))
	a.console("dev/console")
	if err := a.end(); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	if len(got)%4 != 0 {
		t.Errorf("%d bytes are not in fours", len(got))
	}
	// Header of 110 bytes, name and NUL to 116, data of 5 to 124.
	first := "070701" + "00000001" + "000081ED" + "00000000" + "00000000" + "00000001" + "00000000" + "00000005" +
		"00000000" + "00000000" + "00000000" + "00000000" + "00000005" + "00000000" + "init\x00\x00" + "hello\x00\x00\x00"
	if !strings.HasPrefix(got, first) {
		t.Errorf("got\n%q, want\n%q", got[:min(len(got), 130)], first)
	}
	second := got[len(first):]
	if !strings.HasPrefix(second, "070701"+"00000002"+"00002180") || !strings.Contains(second[:120], "0000000500000001") {
		t.Errorf("the console is %q", second[:min(len(second), 130)])
	}
	if !strings.Contains(second, "TRAILER!!!\x00") {
		t.Error("no trailer")
	}
	a.file("/does/not/exist", "x")
	if err := a.end(); err == nil {
		t.Error("a file that is not there was archived")
	}
}
