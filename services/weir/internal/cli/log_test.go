package cli

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
)

// putAttack writes one record of an attack.
func (l *lab) putAttack(r attacks.Record) {
	l.t.Helper()
	if r.Action == "" {
		r.Action = commands.Drop
	}
	r.UpdatedAt = time.Now()
	key, value, err := attacks.Encode(r)
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(l.topics.Attacks, string(key), value)
}

func flood(host, rule string, start time.Time) attacks.Record {
	return attacks.Record{Host: host, Interface: "eth0", Rule: rule, Vector: "SYN flood", Start: start, Leases: 1, Sources: 1, Mode: "enforce"}
}

func TestLog(t *testing.T) {
	l := newLab(t)
	now := time.Now()
	begun := flood("a", "R1", now.Add(-time.Minute))
	l.putAttack(begun)
	grown := begun
	grown.PeakPPS, grown.Dropped, grown.Sources = 12_345, 99_000, 7
	l.putAttack(grown)
	over := flood("b", "S2", now.Add(-30*time.Minute))
	over.Destination, over.End, over.Mode, over.Would = netip.MustParseAddr("192.0.2.80"), over.Start.Add(90*time.Second), "observe", 55
	over.Vector = "reflection \x1b[31m"
	l.putAttack(over)
	old := flood("b", "R3", now.Add(-3*time.Hour))
	old.End = old.Start.Add(time.Minute)
	l.putAttack(old)
	doubled := flood("c", "R1", now)
	l.putAttack(doubled)
	l.put(l.topics.Attacks, doubled.Key(), nil)
	l.put(l.topics.Attacks, "garbage", []byte("garbage"))

	var out []attack
	r := l.run("log", "-o", "json")
	r.into(t, &out)
	if r.code != ExitOK || len(out) != 2 || out[0].Rule != "S2" || out[1].Key != begun.Key() || out[1].Dropped != 99_000 || out[1].Ended() {
		t.Errorf("within the hour: %+v", r)
	}
	for _, c := range []struct {
		args []string
		want int
	}{{[]string{"--since", "24h"}, 3}, {[]string{"--open"}, 1}, {[]string{"--interface", "b/eth0"}, 1}, {[]string{"--interface", "a"}, 1}, {[]string{"--interface", "d"}, 0}} {
		var out []attack
		l.run(append([]string{"log", "-o", "json"}, c.args...)...).into(t, &out)
		if len(out) != c.want {
			t.Errorf("%q: %d attacks, want %d", c.args, len(out), c.want)
		}
	}
	r = l.run("log")
	for _, want := range []string{"START", "goes on", "after 1m30s", "a/eth0", "12.3k", "99.0k", "192.0.2.80", "(drop)", "reflection ?[31m"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out, "\x1b") || strings.Contains(r.out, "c/eth0") {
		t.Errorf("raw text or a tombstone in\n%s", r.out)
	}
	if r := l.run("log", "--since", "0s"); r.code != ExitUsage {
		t.Errorf("--since 0s: %+v", r)
	}
}

func TestLogFollows(t *testing.T) {
	l := newLab(t)
	l.putAttack(flood("a", "R1", time.Now()))
	type follower struct {
		out  *screen
		code chan int
	}
	ctx, cancel := context.WithCancel(t.Context())
	start := func(args ...string) follower {
		f := follower{&screen{}, make(chan int, 1)}
		env := l.env(f.out, f.out)
		go func() { f.code <- Run(ctx, env, args) }()
		return f
	}
	text, lines := start("log", "-f"), start("log", "-f", "-o", "json")
	text.out.waitFor(t, "goes on")
	lines.out.waitFor(t, `"rule":"R1"`)
	x := flood("b", "R2", time.Now())
	x.Action = commands.RateLimit
	l.putAttack(x)
	text.out.waitFor(t, "began b/eth0: R2 SYN flood")
	x.PeakPPS = 4321
	l.putAttack(x)
	x.Action = commands.Drop
	l.putAttack(x)
	text.out.waitFor(t, "now b/eth0: R2 SYN flood, victim -, 4.3k packets/s")
	x.End = x.Start.Add(90 * time.Second)
	l.putAttack(x)
	text.out.waitFor(t, "ended b/eth0")
	text.out.waitFor(t, "1m30s long")
	lines.out.waitFor(t, `"end":`)
	cancel()
	if a, b := <-text.code, <-lines.code; a != ExitOK || b != ExitOK {
		t.Errorf("exit codes %d and %d", a, b)
	}
	if n := strings.Count(text.out.text(), "b/eth0"); n != 3 {
		t.Errorf("%d lines about the attack, want began, now and ended:\n%s", n, text.out.text())
	}
	got := strings.Split(strings.TrimSpace(lines.out.text()), "\n")
	if len(got) != 5 {
		t.Errorf("%d lines of JSON, want each record", len(got))
	}
	for _, line := range got {
		if err := json.Unmarshal([]byte(line), &attack{}); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// text returns all that was written.
func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
