package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/status"
)

func TestUnblockReleasesOnlyOnesOwn(t *testing.T) {
	l := newLab(t)
	p := l.startProbe("a")
	l.run("block", "203.0.113.7", "--no-wait")
	l.run("block", "203.0.113.7", "--no-wait", "--issuer", "policy")
	l.run("block", "203.0.113.7", "--no-wait", "--target", "host:a")
	r := l.run("unblock", "203.0.113.7")
	if r.code != ExitOK || !strings.HasPrefix(r.out, "released on 1 of 1 interface in ") ||
		!strings.Contains(r.out, "leases that stay: drop by policy at *, drop by alice at host:a") {
		t.Errorf("got %+v", r)
	}
	records := l.records(l.topics.Commands)
	if last := records[len(records)-1]; string(last.Key) != "*|203.0.113.7/32|alice" || last.Value != nil {
		t.Errorf("wrote %q = %q, want a tombstone", last.Key, last.Value)
	}
	p.mu.Lock()
	if len(p.leases) != 2 {
		t.Errorf("leases %v, want policy's and the one at host:a", p.leases)
	}
	p.mu.Unlock()

	r = l.run("unblock", "203.0.113.7")
	if r.code != ExitNothing || !strings.Contains(r.err, "alice has no lease") || !strings.Contains(r.err, "policy") {
		t.Errorf("twice: %+v", r)
	}
	if n := len(l.records(l.topics.Commands)); n != len(records) {
		t.Errorf("%d records, want %d: nothing was to be released", n, len(records))
	}
	if r := l.run("unblock", "203.0.113.99"); r.code != ExitNothing || !strings.Contains(r.err, "there is no lease on 203.0.113.99/32") {
		t.Errorf("never blocked: %+v", r)
	}
}

func TestUnblockAllIssuers(t *testing.T) {
	l := newLab(t)
	p := l.startProbe("a")
	for _, issuer := range []string{"alice", "bob", "policy"} {
		l.run("block", "203.0.113.7", "--no-wait", "--issuer", issuer)
	}
	l.run("block", "203.0.113.8", "--no-wait", "--issuer", "bob")
	var out outcome
	r := l.run("unblock", "203.0.113.7", "--all-issuers", "-o", "json")
	r.into(t, &out)
	if r.code != ExitOK || len(out.Keys) != 3 || out.Interfaces != 1 {
		t.Errorf("got %+v", r)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.leases["*|203.0.113.8/32|bob"]; len(p.leases) != 1 || !ok {
		t.Errorf("leases %v, want only bob's on .8", p.leases)
	}
}

func TestList(t *testing.T) {
	l := newLab(t)
	p := l.startProbe("a")
	l.run("block", "203.0.113.7", "--reason", "evil \x1b[31m", "--ttl", "1h")
	l.run("block", "198.51.100.0/24", "--rate", "500pps,10mbps", "--issuer", "bob")
	l.run("allow", "2001:db8::1")
	l.run("mode", "enforce", "--target", "host:a")
	l.run("block", "192.0.2.1")
	l.run("unblock", "192.0.2.1")
	// One that has expired, and garbage as others may write it.
	key, value, err := commands.Encode(commands.Command{Match: commands.Match{Source: mustPrefix(t, "192.0.2.2")}, Action: commands.Drop, TTL: time.Minute, Issuer: "old"})
	if err != nil {
		t.Fatal(err)
	}
	if !l.real {
		l.putAt(l.topics.Commands, string(key), value, time.Now().Add(-2*time.Minute))
	}
	l.put(l.topics.Commands, "garbage", []byte("garbage"))
	p.set(func(r *status.Record) {
		r.Filter.Drops = []status.LeaseDrops{{Key: "*|203.0.113.7/32|alice", Packets: 12_345, Bytes: 999, Would: 7}}
	})
	l.startProbe("b", func(p *probe) {
		p.deaf = true
		p.record.Filter.Drops = []status.LeaseDrops{{Key: "*|203.0.113.7/32|alice", Packets: 5}}
	})

	var out []listed
	r := l.run("list", "-o", "json")
	r.into(t, &out)
	byKey := map[string]listed{}
	for _, x := range out {
		byKey[x.Key] = x
	}
	if len(out) != 4 {
		t.Errorf("%d lines, want 4: %s", len(out), r.out)
	}
	first := byKey["*|203.0.113.7/32|alice"]
	if first.DroppedPackets != 12_350 || first.DroppedBytes != 999 || first.WouldDrop != 7 || first.RemainingSeconds == nil ||
		*first.RemainingSeconds < 3500 || *first.RemainingSeconds > 3600 || !first.ExpiresAt.Equal(first.IssuedAt.Add(time.Hour)) {
		t.Errorf("first: %+v", first)
	}
	if m := byKey["host:a|mode|alice"]; m.Mode != commands.ModeEnforce || m.ExpiresAt != nil {
		t.Errorf("mode: %+v", m)
	}

	r = l.run("list")
	for _, want := range []string{"MATCH", "203.0.113.7/32", "evil ?[31m", "12.3k", "limit 500pps,10.0Mbps", "bob", "mode enforce", "for good", "1 records of " + l.topics.Commands + " are no valid commands"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	if strings.Contains(r.out, "192.0.2.") || strings.Contains(r.out, "\x1b") {
		t.Errorf("released, expired or raw text in\n%s", r.out)
	}
	for _, c := range []struct {
		args []string
		want int
	}{{[]string{"--by", "bob"}, 1}, {[]string{"--source", "203.0.113.0/24"}, 1}, {[]string{"--source", "198.51.100.9"}, 1}, {[]string{"--source", "192.0.2.9"}, 0}} {
		var out []listed
		l.run(append([]string{"list", "-o", "json"}, c.args...)...).into(t, &out)
		if len(out) != c.want {
			t.Errorf("%q: %d lines, want %d", c.args, len(out), c.want)
		}
	}
}

// TestListSurvivesHostileRecords: what anyone may write to the topic must not
// hide what comes after it.
func TestListSurvivesHostileRecords(t *testing.T) {
	l := newLab(t)
	l.run("block", "203.0.113.7", "--no-wait")
	// 20 MiB of zeros in a few kilobytes.
	bomb := l.client(kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(32<<20))
	if err := bomb.ProduceSync(t.Context(), &kgo.Record{Topic: l.topics.Commands, Key: []byte("bomb"), Value: make([]byte, 20<<20)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	l.put(l.topics.Commands, "", []byte("{}"))
	l.put(l.topics.Commands, "*|203.0.113.9/32|alice", bytes.Repeat([]byte("x"), 500_000))
	// An aborted transaction, whose records must not count.
	tx := l.client(kgo.TransactionalID("tx-" + l.prefix))
	if err := tx.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := tx.ProduceSync(t.Context(), &kgo.Record{Topic: l.topics.Commands, Key: []byte("*|203.0.113.7/32|alice")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := tx.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	var out []listed
	l.run("list", "-o", "json").into(t, &out)
	if len(out) != 1 || out[0].Match != "203.0.113.7/32" {
		t.Errorf("after hostile records: %+v", out)
	}
	l.run("block", "203.0.113.8", "--no-wait")
	l.run("list", "-o", "json").into(t, &out)
	if len(out) != 2 {
		t.Errorf("%d leases, want 2", len(out))
	}
}

// TestListGoesByTheBrokersTime: with a broker ahead of our clock, a lease that
// has lapsed there has lapsed.
func TestListGoesByTheBrokersTime(t *testing.T) {
	l := newLab(t)
	l.needsProducerTime()
	key, value, err := commands.Encode(commands.Command{Match: commands.Match{Source: mustPrefix(t, "192.0.2.2")}, Action: commands.Drop, TTL: time.Minute, Issuer: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	l.putAt(l.topics.Commands, string(key), value, time.Now().Add(50*time.Minute))
	var out []listed
	l.run("list", "-o", "json").into(t, &out)
	if len(out) != 1 || *out[0].RemainingSeconds < 59 || *out[0].RemainingSeconds > 60 {
		t.Errorf("just issued by the broker's clock: %+v", out)
	}
	p := l.startProbe("a", func(p *probe) { p.deaf = true })
	s, err := status.Encode(p.record)
	if err != nil {
		t.Fatal(err)
	}
	l.putAt(l.topics.Status, p.record.Key(), s, time.Now().Add(52*time.Minute))
	l.run("list", "-o", "json").into(t, &out)
	if len(out) != 0 {
		t.Errorf("two minutes later by the broker's clock: %+v", out)
	}
}

func TestStatus(t *testing.T) {
	l := newLab(t)
	l.needsProducerTime()
	if r := l.run("status"); r.code != ExitNoProbe || !strings.Contains(r.err, "no live probe") {
		t.Errorf("without probes: %+v", r)
	}
	l.startProbe("live")
	l.startProbe("gone", func(p *probe) { p.deaf = true; p.record.Stopped = true })
	old := l.startProbe("old", func(p *probe) { p.deaf = true })
	l.put(l.topics.Status, "nonsense", []byte("{}"))
	value, err := status.Encode(old.record)
	if err != nil {
		t.Fatal(err)
	}
	l.putAt(l.topics.Status, old.record.Key(), value, time.Now().Add(-schemas.StaleAfter))
	l.run("block", "203.0.113.7")

	var out []interfaceStatus
	r := l.run("status", "-o", "json")
	r.into(t, &out)
	states := map[string]string{}
	behind := map[string]int64{}
	for _, s := range out {
		states[s.Status.Key()] = s.State
		behind[s.Status.Key()] = s.Behind
	}
	if r.code != ExitOK || len(out) != 3 || states["live/eth0"] != "live" || states["gone/eth0"] != "stopped" || states["old/eth0"] != "stale" {
		t.Errorf("states %v, %+v", states, r)
	}
	if behind["live/eth0"] != 0 || behind["old/eth0"] != 1 {
		t.Errorf("behind %v", behind)
	}
	if r := l.run("status"); !strings.Contains(r.out, "live/eth0") || !strings.Contains(r.out, "1/1000") || !strings.Contains(r.out, "- (-1)") {
		t.Errorf("table:\n%s", r.out)
	}
}
