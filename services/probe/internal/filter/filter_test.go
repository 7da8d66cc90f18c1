package filter

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/probe/internal/guard"
)

// memory is a data plane that only remembers.
type memory struct {
	exempt  []netip.Prefix
	entries map[xdp.Match]xdp.Entry
	modes   map[xdp.Slot]xdp.FilterMode
	room    int
}

func (m *memory) Put(all []xdp.Entry) error {
	for _, e := range all {
		if _, ok := m.entries[e.Match]; !ok && len(m.entries) >= m.room {
			return xdp.ErrFull
		}
		m.entries[e.Match] = e
	}
	return nil
}

func (m *memory) Delete(all []xdp.Match) (n int, err error) {
	for _, x := range all {
		if _, ok := m.entries[x]; ok {
			n++
			delete(m.entries, x)
		}
	}
	return n, nil
}

func (m *memory) Entries(f func(xdp.Entry, xdp.Drops) bool) {
	for _, e := range m.entries {
		if !f(e, xdp.Drops{}) {
			return
		}
	}
}

func (m *memory) Dropping(f func(xdp.Entry, xdp.Drops) bool) { m.Entries(f) }
func (m *memory) SetExempt(p []netip.Prefix) error           { m.exempt = p; return nil }
func (m *memory) SetFilterMode(s xdp.Slot, f xdp.FilterMode) { m.modes[s] = f }
func (m *memory) Len() (int, int)                            { return len(m.entries), m.room }

// bench is a filter with hands on its clock.
type bench struct {
	*Filter
	dp     *memory
	now    time.Time
	offset int64
	events []events.Record
}

func newBench(t *testing.T, change func(*Options)) *bench {
	t.Helper()
	b := &bench{dp: &memory{entries: map[xdp.Match]xdp.Entry{}, modes: map[xdp.Slot]xdp.FilterMode{}, room: 100}, now: time.Now()}
	o := Options{
		Host: "h", Topic: "commands", Mode: commands.ModeObserve, MaxPerIssuer: 50, DeadMan: 30 * time.Second,
		Interfaces: func() []Interface { return []Interface{{0, "eth0"}, {1, "eth1"}} },
		Publish:    func(e events.Record) { b.events = append(b.events, e) },
		Log:        slog.New(slog.DiscardHandler), Now: func() time.Time { return b.now },
	}
	if change != nil {
		change(&o)
	}
	b.Filter = New(b.dp, o)
	b.Begin()
	b.Position(0, true)
	return b
}

func (b *bench) write(key, value string) {
	r := &kgo.Record{Topic: "commands", Key: []byte(key), Offset: b.offset, Timestamp: b.now}
	if value != "" {
		r.Value = []byte(value)
	}
	b.offset++
	b.Records([]*kgo.Record{r})
	b.Position(b.offset, true)
}

// effective describes what the data plane holds, sorted by variant.
func (b *bench) effective(match string) string {
	m, err := commands.ParseMatch(match)
	if err != nil {
		return err.Error()
	}
	var out []string
	for v := range uint8(4) {
		p := packed(m)
		x := p.datapath()
		x.Variant = v
		if e, ok := b.dp.entries[x]; ok {
			s := fmt.Sprintf("%d@%b", e.Action, e.Interfaces)
			if e.Suspended {
				s += " suspended"
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, ", ")
}

const (
	observe = "1@11"
	limit   = "2@11"
	drop    = "3@11"
	allow   = "4@11"
	src     = "203.0.113.7/32"
)

func TestEffectiveLease(t *testing.T) {
	b := newBench(t, nil)
	expect := func(want string) {
		t.Helper()
		if got := b.effective(src); got != want {
			t.Errorf("in force: %q, want %q", got, want)
		}
	}
	b.write("*|"+src+"|a", `{"action":"observe"}`)
	expect(observe)
	b.write("*|"+src+"|b", `{"action":"drop","ttl":"1m"}`)
	expect(drop)
	b.write("*|"+src+"|c", `{"action":"rate-limit","rate":{"pps":5}}`)
	expect(drop)
	b.write("*|"+src+"|d", `{"action":"allow","ttl":"30s"}`)
	expect(allow)
	b.write("*|"+src+"|b", "") // releasing b's leaves the others alone
	expect(allow)
	b.now = b.now.Add(31 * time.Second)
	b.expire()
	expect(limit) // the allow has lapsed: the next one takes its place
	b.write("*|"+src+"|c", "")
	expect(observe)
	b.write("*|"+src+"|a", "")
	expect("")
}

func TestTargets(t *testing.T) {
	b := newBench(t, nil)
	b.write("host:other|"+src+"|a", `{"action":"drop"}`)
	if got := b.effective(src); got != "" {
		t.Errorf("another host's lease: %q", got)
	}
	b.write("interface:h/eth1|"+src+"|a", `{"action":"drop"}`)
	if got := b.effective(src); got != "3@10" {
		t.Errorf("one interface: %q", got)
	}
	b.write("host:h|"+src+"|b", `{"action":"rate-limit","rate":{"pps":5}}`)
	if got := b.effective(src); got != "2@1, 3@10" && got != "3@10, 2@1" {
		t.Errorf("limited on the host and dropped on one interface: %q", got)
	}
	b.write("interface:h/eth1|"+src+"|a", "")
	if got := b.effective(src); got != limit {
		t.Errorf("after the release: %q", got)
	}
}

func TestModes(t *testing.T) {
	b := newBench(t, nil)
	expect := func(zero, one xdp.FilterMode) {
		t.Helper()
		if b.dp.modes[0] != zero || b.dp.modes[1] != one {
			t.Errorf("modes %v, want %d and %d", b.dp.modes, zero, one)
		}
	}
	expect(xdp.FilterObserve, xdp.FilterObserve)
	b.write("*|mode|a", `{"action":"mode","mode":"enforce"}`)
	expect(xdp.FilterEnforce, xdp.FilterEnforce)
	b.write("interface:h/eth1|mode|b", `{"action":"mode","mode":"off","ttl":"1m"}`)
	expect(xdp.FilterEnforce, xdp.FilterOff)
	b.write("*|mode|c", `{"action":"mode","mode":"observe"}`)
	expect(xdp.FilterObserve, xdp.FilterOff)
	b.now = b.now.Add(2 * time.Minute)
	b.expire()
	expect(xdp.FilterObserve, xdp.FilterObserve)
	b.write("*|mode|c", "")
	expect(xdp.FilterEnforce, xdp.FilterEnforce)
}

// TestFoolishCommands: each gives one event with a reason, and the next command
// is applied.
func TestFoolishCommands(t *testing.T) {
	b := newBench(t, nil)
	b.SetFacts(guard.Facts{Own: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Brokers: []guard.Broker{{Address: netip.MustParseAddr("192.0.2.9"), Port: 9092}}})
	for _, c := range []struct{ key, value, want string }{
		{"", `{"action":"drop"}`, "no key"},
		{"nonsense", `{"action":"drop"}`, "want <target>|<match>|<issuer>"},
		{"*|203.0.113.7|a", `{"action":"drop"}`, "203.0.113.7"},
		{"*|" + src + "|a", `garbage`, "not JSON"},
		{"*|" + src + "|a", `{"action":"explode"}`, "explode"},
		{"*|" + src + "|a", `{"action":"drop","match":{"source":"203.0.113.8/32"}}`, "mismatch"},
		{"*|" + src + "|a", `{"action":"drop","ttl":"25h"}`, "ttl"},
		{"*|" + src + "|a", `{"v":2,"action":"drop"}`, "version"},
		{"*|" + src + "|a", `{"action":"rate-limit"}`, "rate"},
		{"*|" + src + "|a", `{"action":"drop","reason":"` + strings.Repeat("x", 70_000) + `"}`, "too-large"},
		{"*|0.0.0.0/0|a", `{"action":"drop"}`, "shorter than /16"},
		{"*|192.0.2.1/32|a", `{"action":"drop"}`, "own address"},
		{"*|192.0.2.9/32|a", `{"action":"drop"}`, "broker"},
	} {
		b.events = nil
		before := b.Rejected()
		b.write(c.key, c.value)
		if len(b.events) != 1 || b.events[0].Kind != events.KindRejectedCommand || !strings.Contains(b.events[0].Reason, c.want) || b.events[0].Offset != b.offset-1 {
			t.Errorf("key %q: events %+v, want one that says %q", c.key, b.events, c.want)
		}
		if b.Rejected() != before+1 {
			t.Errorf("key %q was not counted", c.key)
		}
	}
	for m, e := range b.dp.entries {
		if !e.Suspended {
			t.Errorf("%v is in force", m)
		}
	}
	b.write("*|"+src+"|a", `{"action":"drop"}`)
	if got := b.effective(src); got != drop {
		t.Errorf("a good command afterwards: %q", got)
	}
}

func TestQuotas(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MaxPerIssuer = 3; o.ChangesPerSecond = 5 })
	for i := range 4 {
		b.write(fmt.Sprintf("*|203.0.113.%d/32|a", i), `{"action":"drop"}`)
	}
	if len(b.dp.entries) != 3 || len(b.events) != 1 || !strings.Contains(b.events[0].Reason, "quota") {
		t.Errorf("%d leases, events %+v", len(b.dp.entries), b.events)
	}
	b.events = nil
	for range 10 {
		b.write("*|203.0.113.1/32|a", `{"action":"drop"}`)
	}
	if len(b.events) == 0 || !strings.Contains(b.events[0].Reason, "changes a second") {
		t.Errorf("ten changes at once: events %+v", b.events)
	}
}

// TestGuardChanges: what becomes forbidden is suspended, and comes back.
func TestGuardChanges(t *testing.T) {
	b := newBench(t, nil)
	b.write("*|"+src+"|a", `{"action":"drop","ttl":"1h"}`)
	b.SetFacts(guard.Facts{Own: []netip.Addr{netip.MustParseAddr("203.0.113.7")}})
	if got := b.effective(src); got != "" {
		t.Errorf("a lease on an own address: %q", got)
	}
	b.SetFacts(guard.Facts{})
	if got := b.effective(src); got != drop {
		t.Errorf("after the address is gone: %q", got)
	}
	if len(b.events) != 2 || b.events[0].Kind != events.KindSuspended || b.events[1].Kind != events.KindResumed {
		t.Errorf("events %+v", b.events)
	}
}

func TestDeadMan(t *testing.T) {
	const wide = "destination=198.51.100.1/32,protocol=tcp"
	b := newBench(t, nil)
	b.SetFacts(guard.Facts{Brokers: []guard.Broker{{Address: netip.MustParseAddr("192.0.2.9"), Port: 9092}}})
	b.write("*|"+src+"|a", `{"action":"drop","ttl":"1h"}`)
	b.write("*|destination=198.51.100.1/32,protocol=udp|a", `{"action":"drop","ttl":"1h"}`)
	h := leaseOf(t, wide, b.Filter, b.now)
	b.live.put(h, owner{issuer: "a"}) // the guard would refuse it: this is the second line
	if err := b.install([]match{h.match}); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(10 * time.Second)
	b.deadMan(false)
	if got := b.effective(wide); got != drop+" suspended" {
		t.Errorf("the lease that could be the cause: %q", got)
	}
	if got := b.effective(src); got != drop {
		t.Errorf("a lease on one foreign source: %q", got)
	}
	// Kept over a restart: a new process finds the entry, and the log again.
	c := newBench(t, nil)
	c.dp.entries = b.dp.entries
	c.Begin()
	c.next.put(leaseOf(t, wide, c.Filter, c.now), owner{issuer: "a"})
	c.Position(9, true)
	if got := c.effective(wide); got != drop+" suspended" {
		t.Errorf("after a restart: %q", got)
	}
	// Until its issuer writes it again.
	c.offset = 100
	c.write("*|"+wide+"|a", `{"action":"drop"}`)
	if got := c.effective(wide); got != drop {
		t.Errorf("written again: %q", got)
	}
}

func leaseOf(t *testing.T, text string, f *Filter, now time.Time) held {
	t.Helper()
	m, err := commands.ParseMatch(text)
	if err != nil {
		t.Fatal(err)
	}
	return heldOf(&commands.Command{Action: commands.Drop, Match: m}, 7, now.Add(time.Hour), now.Sub(f.began))
}

// TestReplaySweeps: what the log no longer has leaves the data plane when the
// replay is over, and not before.
func TestReplaySweeps(t *testing.T) {
	b := newBench(t, nil)
	b.write("*|"+src+"|a", `{"action":"drop","ttl":"1h"}`)
	b.write("*|203.0.113.8/32|a", `{"action":"drop","ttl":"1h"}`)
	b.Begin()
	b.Records([]*kgo.Record{{Topic: "commands", Key: []byte("*|" + src + "|a"), Value: []byte(`{"action":"drop","ttl":"1h"}`), Timestamp: b.now}})
	if len(b.dp.entries) != 2 {
		t.Errorf("%d leases in the middle of a replay, want the two of before", len(b.dp.entries))
	}
	b.Position(1, false)
	if _, ready := b.Applied(); ready {
		t.Error("ready before the replay is over")
	}
	b.Position(1, true)
	if len(b.dp.entries) != 1 || b.effective(src) != drop {
		t.Errorf("after the replay: %v", b.dp.entries)
	}
}
