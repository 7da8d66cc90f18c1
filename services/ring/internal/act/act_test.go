package act

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// desk is a writer and a picture: probes apply what was written after delay.
type desk struct {
	key, value []byte
	fail       error
	written    time.Time
	delay      time.Duration
	pending    []string // for ever
	leases     map[string]commands.Lease
	refusals   []string
}

func (d *desk) Write(_ context.Context, key, value []byte) (int64, error) {
	d.key, d.value, d.written = key, value, time.Now()
	return 7, d.fail
}

func (d *desk) Applied(target schemas.Target, _ string, offset int64) (applied, pending, observing []string) {
	if offset != 7 || !target.Matches("b", "eth0") {
		return nil, nil, nil
	}
	if time.Since(d.written) < d.delay {
		return nil, append([]string{"b/eth0", "a/eth0"}, d.pending...), nil
	}
	return []string{"b/eth0", "a/eth0"}, d.pending, []string{"a/eth0"}
}

func (d *desk) Refusals(string, int64) []string { return d.refusals }

func (d *desk) Lease(key string) (commands.Lease, bool) { l, ok := d.leases[key]; return l, ok }

func actor(d *desk) *Actor {
	return &Actor{Writer: d, Picture: d, Topic: "weir.commands.v1", Wait: 400 * time.Millisecond, Poll: time.Millisecond}
}

func TestBlockIsWrittenAndWaitedFor(t *testing.T) {
	d := &desk{delay: 20 * time.Millisecond}
	out, err := actor(d).Do(t.Context(), "alice", Order{Action: "drop", Target: "*", Source: "203.0.113.7", TTL: "10m", Reason: "a\x00b"})
	if err != nil {
		t.Fatal(err)
	}
	c, err := commands.Decode(d.key, d.value)
	if err != nil {
		t.Fatal(err)
	}
	if string(d.key) != "*|203.0.113.7/32|alice" || c.Action != commands.Drop || c.TTL != 10*time.Minute || c.Reason != "a?b" {
		t.Errorf("wrote %s %s", d.key, d.value)
	}
	if !strings.HasPrefix(out.Text, "applied on 2 of 2 in ") || out.ElapsedMS < 20 || out.Applied[0] != "a/eth0" || len(out.Observing) != 1 {
		t.Errorf("outcome %+v", out)
	}
}

func TestThoseWhoDoNotApplyAreNamed(t *testing.T) {
	d := &desk{pending: []string{"c/eth0"}, refusals: []string{"a: rejected-command: own address"}}
	out, err := actor(d).Do(t.Context(), "alice", Order{Action: "rate-limit", Target: "*", Source: "203.0.113.0/24", TTL: "1h", PPS: 50, Reason: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if out.Text != "applied on 2 of 3 after 400ms" || len(out.Pending) != 1 || len(out.Refused) != 1 {
		t.Errorf("outcome %+v", out)
	}
	nobody, err := actor(d).Do(t.Context(), "alice", Order{Action: "allow", Target: "host:x", Source: "203.0.113.7", TTL: "1m", Reason: "r"})
	if err != nil || !strings.Contains(nobody.Text, "no live probe") {
		t.Errorf("outcome %+v, %v", nobody, err)
	}
}

func TestRelease(t *testing.T) {
	d := &desk{leases: map[string]commands.Lease{"*|203.0.113.7/32|policy": {Key: "*|203.0.113.7/32|policy"}}}
	if _, err := actor(d).Do(t.Context(), "alice", Order{Action: "release", Key: "*|203.0.113.7/32|policy"}); err != nil {
		t.Fatal(err)
	}
	if string(d.key) != "*|203.0.113.7/32|policy" || d.value != nil {
		t.Errorf("wrote %q %q, want a tombstone", d.key, d.value)
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	for name, o := range map[string]Order{
		"an action":     {Action: "explode", Target: "*", Source: "203.0.113.7", TTL: "10m"},
		"a mode":        {Action: "mode", Target: "*", Source: "203.0.113.7", TTL: "10m"},
		"a target":      {Action: "drop", Target: "all", Source: "203.0.113.7", TTL: "10m"},
		"a source":      {Action: "drop", Target: "*", Source: "203.0.113.7/24", TTL: "10m"},
		"no source":     {Action: "drop", Target: "*", TTL: "10m"},
		"a time":        {Action: "drop", Target: "*", Source: "203.0.113.7", TTL: "soon"},
		"too long":      {Action: "drop", Target: "*", Source: "203.0.113.7", TTL: "25h"},
		"no rate":       {Action: "rate-limit", Target: "*", Source: "203.0.113.7", TTL: "1h"},
		"no such lease": {Action: "release", Key: "*|203.0.113.7/32|alice"},
	} {
		d := &desk{}
		_, err := actor(d).Do(t.Context(), "alice", o)
		var refused *schemas.RecordError
		if !errors.As(err, &refused) || d.key != nil {
			t.Errorf("%s: %v, wrote %q", name, err, d.key)
		}
	}
	d := &desk{fail: errors.New("no broker")}
	_, err := actor(d).Do(t.Context(), "alice", Order{Action: "drop", Target: "*", Source: "203.0.113.7", TTL: "10m"})
	if err == nil || errors.As(err, new(*schemas.RecordError)) {
		t.Errorf("without a broker: %v", err)
	}
}
