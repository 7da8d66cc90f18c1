package cli

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/status"
)

func TestBlockWaitsForEveryProbe(t *testing.T) {
	l := newLab(t)
	for _, host := range []string{"a", "b", "c"} {
		l.startProbe(host)
	}
	r := l.run("block", "203.0.113.7", "--reason", "syn flood", "--ttl", "1h")
	if r.code != ExitOK || !regexp.MustCompile(`^blocked on 3 of 3 interfaces in \d+ ms\n$`).MatchString(r.out) || r.err != "" {
		t.Fatalf("block: %+v", r)
	}
	written := l.records(l.topics.Commands)
	if len(written) != 1 || string(written[0].Key) != "*|203.0.113.7/32|alice" {
		t.Fatalf("written %v", written)
	}
	c, err := commands.Decode(written[0].Key, written[0].Value)
	if err != nil || c.Action != commands.Drop || c.TTL != time.Hour || c.Reason != "syn flood" {
		t.Errorf("command %+v, %v", c, err)
	}
	headers := map[string]string{}
	for _, h := range written[0].Headers {
		headers[h.Key] = string(h.Value)
	}
	if want := map[string]string{"content-type": "application/json", "schema": "weir.commands.v1"}; !reflect.DeepEqual(headers, want) {
		t.Errorf("headers %v, want %v", headers, want)
	}
	// Only the named host counts for a narrower target.
	if r := l.run("block", "203.0.113.8", "--target", "host:b"); r.code != ExitOK || !strings.HasPrefix(r.out, "blocked on 1 of 1 interface in ") {
		t.Errorf("block at host:b: %+v", r)
	}
}

func TestBlockSaysWhoHasNotApplied(t *testing.T) {
	l := newLab(t)
	l.startProbe("quick")
	l.startProbe("deaf", func(p *probe) { p.deaf = true })
	start := time.Now()
	r := l.run("block", "203.0.113.7", "--wait", "300ms")
	if want := "blocked on 1 of 2 interfaces after 300ms\n  not applied: deaf/eth0\n"; r.code != ExitNotApplied || r.out != want {
		t.Errorf("got %+v, want %q", r, want)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	var out outcome
	r = l.run("block", "203.0.113.7", "--wait", "300ms", "-o", "json")
	r.into(t, &out)
	if r.code != ExitNotApplied || out.Interfaces != 2 || !reflect.DeepEqual(out.Pending, []string{"deaf/eth0"}) || !reflect.DeepEqual(out.Applied, []string{"quick/eth0"}) {
		t.Errorf("json: %+v", out)
	}
}

func TestBlockWithoutALiveProbe(t *testing.T) {
	l := newLab(t)
	l.startProbe("gone", func(p *probe) { p.deaf = true; p.record.Stopped = true })
	start := time.Now()
	r := l.run("block", "203.0.113.7")
	if r.code != ExitNoProbe || !strings.HasPrefix(r.out, "no live probe is concerned; written all the same at offset 0") {
		t.Errorf("got %+v", r)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("took %v, though there is nobody to wait for", took)
	}
	if n := len(l.records(l.topics.Commands)); n != 1 {
		t.Errorf("%d commands written, want 1", n)
	}
	// The same for a target that no live probe belongs to.
	l.startProbe("other")
	if r := l.run("block", "203.0.113.7", "--target", "host:nobody"); r.code != ExitNoProbe {
		t.Errorf("host:nobody: %+v", r)
	}
}

func TestBlockSaysWhoRefuses(t *testing.T) {
	l := newLab(t)
	l.startProbe("good")
	l.startProbe("guarded", func(p *probe) { p.refuse = "192.0.2.1 is the default\x1b[31m gateway" })
	r := l.run("block", "192.0.2.1")
	want := "refused: guarded/eth0: rejected-command: 192.0.2.1 is the default?[31m gateway"
	if r.code != ExitNotApplied || !strings.Contains(r.out, "blocked on 1 of 2 interfaces") || !strings.Contains(r.out, want) {
		t.Errorf("got %+v, want %q", r, want)
	}
}

func TestBlockInObserveModeDoesNotPretend(t *testing.T) {
	l := newLab(t)
	l.startProbe("watching", func(p *probe) { p.record.Mode = "observe" })
	l.startProbe("off", func(p *probe) { p.record.Mode = "off" })
	r := l.run("block", "203.0.113.7")
	if r.code != ExitOK || !strings.Contains(r.out, "observe mode, nothing is dropped there: watching/eth0") || !strings.Contains(r.out, "everything passes there: off/eth0") {
		t.Errorf("got %+v", r)
	}
}

func TestBlockWritesWhatTheFlagsSay(t *testing.T) {
	l := newLab(t)
	for _, c := range []struct {
		args []string
		key  string
		want commands.Command
	}{
		{[]string{"block", "2001:db8::/48", "--observe"}, "*|2001:db8::/48|alice", commands.Command{Action: commands.Observe}},
		{[]string{"block", "203.0.113.7", "--rate", "500pps,10mbps", "--protocol", "tcp", "--tcp-flags", "syn+!ack"},
			"*|source=203.0.113.7/32,protocol=tcp,tcp_flags=syn+!ack|alice", commands.Command{Action: commands.RateLimit, Rate: &commands.Rate{PPS: 500, BPS: 10_000_000}}},
		{[]string{"block", "--destination", "192.0.2.80", "--protocol", "udp", "--source-port", "53", "--target", "interface:a/eth0"},
			"interface:a/eth0|destination=192.0.2.80/32,protocol=udp,source_port=53|alice", commands.Command{Action: commands.Drop}},
		{[]string{"allow", "203.0.113.0/24", "--protocol", "17", "--port", "443", "--issuer", "bob"}, "*|source=203.0.113.0/24,protocol=udp,destination_port=443|bob", commands.Command{Action: commands.Allow}},
		{[]string{"mode", "enforce", "--target", "host:a"}, "host:a|mode|alice", commands.Command{Action: commands.SetMode, Mode: commands.ModeEnforce}},
	} {
		var out outcome
		r := l.run(append(c.args, "--no-wait", "-o", "json")...)
		if r.code != ExitOK {
			t.Errorf("%q: %+v", c.args, r)
			continue
		}
		r.into(t, &out)
		records := l.records(l.topics.Commands)
		last := records[len(records)-1]
		if string(last.Key) != c.key || out.Key != c.key || out.Offset != last.Offset {
			t.Errorf("%q: key %q at %d, said %q at %d, want %q", c.args, last.Key, last.Offset, out.Key, out.Offset, c.key)
		}
		got, err := commands.Decode(last.Key, last.Value)
		if err != nil || got.Action != c.want.Action || got.Mode != c.want.Mode || !reflect.DeepEqual(got.Rate, c.want.Rate) {
			t.Errorf("%q: %+v, %v", c.args, got, err)
		}
		if isMode := got.Action == commands.SetMode; (out.ExpiresAt == nil) != isMode {
			t.Errorf("%q: expires %v", c.args, out.ExpiresAt)
		} else if !isMode && !out.ExpiresAt.Equal(last.Timestamp.Add(commands.DefaultTTL)) {
			t.Errorf("%q: expires %v, the broker's timestamp is %v", c.args, out.ExpiresAt, last.Timestamp)
		}
	}
}

func TestWrongArguments(t *testing.T) {
	l := newLab(t)
	for _, args := range [][]string{
		{"block"}, {"block", "nonsense"}, {"block", "203.0.113.7/24"}, {"block", "1.2.3.4", "5.6.7.8"}, {"block", "1.2.3.4", "--ttl", "48h"},
		{"block", "1.2.3.4", "--target", "everywhere"}, {"block", "1.2.3.4", "--port", "80"}, {"block", "1.2.3.4", "--rate", "fast"},
		{"block", "1.2.3.4", "--rate", "5pps", "--observe"}, {"block", "1.2.3.4", "--issuer", "a b"}, {"mode", "dance"}, {"mode"},
		{"explode"}, {"list", "--source", "x"}, {"list", "-o", "xml"}, {"list", "extra"}, {"topics", "apply", "--partitions", "0"}, {"--nonsense"},
		{"top", "--interval", "1ms"},
	} {
		r := l.run(args...)
		if r.code != ExitUsage || !strings.HasPrefix(r.err, "weir: ") {
			t.Errorf("%q: %+v, want exit %d and a reason", args, r, ExitUsage)
		}
	}
	if n := len(l.records(l.topics.Commands)); n != 0 {
		t.Errorf("%d commands were written", n)
	}
}

func TestModeReachesProbes(t *testing.T) {
	l := newLab(t)
	p := l.startProbe("a", func(p *probe) { p.record.Mode = "observe" })
	r := l.run("mode", "enforce")
	if r.code != ExitOK || !strings.HasPrefix(r.out, "mode enforce on 1 of 1 interface in ") {
		t.Errorf("got %+v", r)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.record.Mode != "enforce" {
		t.Errorf("the probe's mode is %q", p.record.Mode)
	}
}

func TestStaleAndDeletedStatusAreNotWaitedFor(t *testing.T) {
	l := newLab(t)
	l.needsProducerTime()
	l.startProbe("a")
	l.startProbe("deleted", func(p *probe) { p.deaf = true })
	old := l.startProbe("old", func(p *probe) { p.deaf = true })
	value, err := status.Encode(old.record)
	if err != nil {
		t.Fatal(err)
	}
	l.putAt(l.topics.Status, "old/eth0", value, time.Now().Add(-schemas.StaleAfter-time.Second))
	l.put(l.topics.Status, "deleted/eth0", nil)
	if r := l.run("block", "203.0.113.7"); r.code != ExitOK || !strings.HasPrefix(r.out, "blocked on 1 of 1 interface in ") {
		t.Errorf("got %+v", r)
	}
}

func TestNoBroker(t *testing.T) {
	l := newLab(t)
	start := time.Now()
	r := l.run("block", "203.0.113.7", "--brokers", "127.0.0.1:1", "--timeout", "500ms")
	if r.code != ExitError || !strings.Contains(r.err, "reaching a broker") || time.Since(start) > 5*time.Second {
		t.Errorf("got %+v after %v", r, time.Since(start))
	}
	r = l.run("list", "--topic-prefix", "other.")
	if r.code != ExitError || !strings.Contains(r.err, "other.commands.v1") || !strings.Contains(r.err, "weir topics apply") {
		t.Errorf("without topics: %+v", r)
	}
}
