package live

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

type fixture struct {
	*Hub
	t   *testing.T
	now time.Time
	seq uint64
}

func hub(t *testing.T) *fixture {
	f := &fixture{t: t, now: start}
	f.Hub = New(100, 2, func() time.Time { return f.now })
	return f
}

// rates tells the hub of one interface with n sources.
func (f *fixture) rates(host string, pps float64, n int) {
	f.t.Helper()
	f.seq++
	r := rates.Record{Host: host, Interface: "eth0", BootID: "b", Seq: f.seq, PPS: pps, Covered: 10 * time.Second, Complete: true}
	for k := range n {
		r.Top = append(r.Top, rates.Source{Source: netip.AddrFrom4([4]byte{198, 18, 0, byte(k)}), PPS: 1, Window1s: rates.Counts{Packets: 1}, Window10s: rates.Counts{Packets: 10}})
	}
	value, err := rates.Encode(r)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.Rates(r.Key(), value, f.now); err != nil {
		f.t.Fatal(err)
	}
}

// drain returns the waiting frames, "event data" each.
func drain(c *Client) []string {
	var out []string
	for len(c.Frames) > 0 {
		lines := strings.SplitN(strings.TrimSpace(string(<-c.Frames)), "\n", 2)
		out = append(out, strings.TrimPrefix(lines[0], "event: ")+" "+strings.TrimPrefix(lines[1], "data: "))
	}
	return out
}

// last returns the data of the last frame of an event.
func last(t *testing.T, frames []string, event string) map[string]any {
	t.Helper()
	for n := len(frames) - 1; n >= 0; n-- {
		if data, ok := strings.CutPrefix(frames[n], event+" "); ok {
			var out map[string]any
			if err := json.Unmarshal([]byte(data), &out); err != nil {
				t.Fatalf("%s: %v", frames[n], err)
			}
			return out
		}
	}
	t.Fatalf("no %s in %q", event, frames)
	return nil
}

func TestDeltaHasWhatChangedAndNothingElse(t *testing.T) {
	f := hub(t)
	f.rates("a", 10, 1)
	f.rates("b", 20, 1)
	c, err := f.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	if rows := last(t, drain(c), "snapshot")["rows"].([]any); len(rows) != 2 {
		t.Fatalf("snapshot %v", rows)
	}
	f.Step()
	drain(c)
	f.rates("b", 30, 1)
	f.rates("b", 40, 1) // one tick, one row
	f.Step()
	delta := last(t, drain(c), "delta")
	rows := delta["rows"].([]any)
	if len(rows) != 1 || rows[0].([]any)[1] != 40.0 || len(delta["info"].([]any)) != 0 {
		t.Errorf("delta %v", delta)
	}
	if err := f.Rates("b/eth0", nil, f.now); err != nil {
		t.Fatal(err)
	}
	f.Step()
	if gone := last(t, drain(c), "delta")["gone"].([]any); len(gone) != 1 || gone[0] != 2.0 {
		t.Errorf("gone %v", gone)
	}
}

func TestSlowBrowserGetsASnapshotAndHoldsNobodyUp(t *testing.T) {
	f := hub(t)
	f.rates("a", 10, 1)
	slow, err := f.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	quick, err := f.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Subscribe(); err == nil {
		t.Error("a third browser was let in")
	}
	got := 0
	for range 3 * backlog {
		f.now = f.now.Add(Tick)
		f.rates("a", 11, 1)
		f.Step()
		got += len(drain(quick))
	}
	if got < 3*backlog {
		t.Errorf("the quick one got %d frames", got)
	}
	if len(slow.Frames) != backlog {
		t.Errorf("%d frames wait for the slow one", len(slow.Frames))
	}
	drain(slow)
	f.rates("a", 77, 1)
	f.Step()
	if rows := last(t, drain(slow), "snapshot")["rows"].([]any); rows[0].([]any)[1] != 77.0 {
		t.Errorf("snapshot %v", rows)
	}
	if n := f.Stats().Resynced; n != 1 {
		t.Errorf("%d snapshots for slow ones", n)
	}
	f.Close(slow)
	if n := f.Stats().Clients; n != 1 {
		t.Errorf("%d browsers", n)
	}
}

func TestSourcesComeForWhatIsWatched(t *testing.T) {
	f := hub(t)
	for n := range 30 {
		f.rates(fmt.Sprint("host", n), 10, 60)
	}
	c, err := f.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]uint32, 0, 30)
	for n := range 30 {
		ids = append(ids, uint32(n+1))
	}
	if !f.Watch(c.ID, ids) || f.Watch("nobody", ids) {
		t.Error("watching")
	}
	drain(c)
	seen := map[float64]int{}
	for range 5 {
		f.now = f.now.Add(Tick)
		for n := range 30 {
			f.rates(fmt.Sprint("host", n), 10, 60)
		}
		f.Step()
		details := 0
		for _, frame := range drain(c) {
			if !strings.HasPrefix(frame, "detail ") {
				continue
			}
			details++
			d := last(t, []string{frame}, "detail")
			seen[d["id"].(float64)]++
			if n := len(d["sources"].([]any)); n != maxSources {
				t.Errorf("%d sources, want %d", n, maxSources)
			}
		}
		if details != detailsPerTick {
			t.Errorf("%d details in a tick, want %d", details, detailsPerTick)
		}
	}
	if len(seen) != 30 || seen[1] != 5 || seen[2] != 5 {
		t.Errorf("seen %v: want all, and the first two at each tick", seen)
	}
}

func TestLeasesDropsAndWhy(t *testing.T) {
	f := hub(t)
	f.rates("a", 10, 1)
	c, err := f.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	drain(c)
	match, err := commands.ParseMatch("198.18.0.0/32")
	if err != nil {
		t.Fatal(err)
	}
	k, v, err := commands.Encode(commands.Command{Match: match, Action: commands.Drop, TTL: time.Minute, Issuer: "alice", Reason: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Command(k, v, 5, f.now); err != nil {
		t.Fatal(err)
	}
	s := status.Record{Host: "a", Interface: "eth0", BootID: "b", Mode: "enforce", Components: map[string]status.Component{status.ComponentFilter: {AppliedOffset: 5, Ready: true}},
		Filter: status.Filter{Drops: []status.LeaseDrops{{Key: string(k), Packets: 9, Bytes: 90, Would: 1}}}}
	sv, err := status.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Status("a/eth0", sv, f.now); err != nil {
		t.Fatal(err)
	}
	f.Step()
	l := last(t, drain(c), "leases")["leases"].([]any)[0].(map[string]any)
	if l["packets"] != 9.0 || l["would"] != 1.0 || l["match"] != "198.18.0.0/32" || l["issuer"] != "alice" {
		t.Errorf("lease %v", l)
	}
	covering, mode := f.Why(Node{Host: "a", Interface: "eth0", Source: netip.MustParseAddr("198.18.0.0")})
	if len(covering) != 1 || mode != "enforce" {
		t.Errorf("why: %v, %q", covering, mode)
	}
	applied, pending, observing := f.Applied(schemas.Target{}, status.ComponentFilter, 5)
	if len(applied) != 1 || len(pending) != 0 || len(observing) != 0 {
		t.Errorf("applied %v, pending %v, observing %v", applied, pending, observing)
	}
	if _, pending, _ := f.Applied(schemas.Target{}, status.ComponentFilter, 6); len(pending) != 1 {
		t.Errorf("pending %v", pending)
	}
	f.now = f.now.Add(schemas.StaleAfter)
	if applied, pending, _ := f.Applied(schemas.Target{}, status.ComponentFilter, 5); len(applied)+len(pending) != 0 {
		t.Errorf("a silent probe counts: %v %v", applied, pending)
	}
	f.now = f.now.Add(time.Minute)
	f.Step()
	if n := last(t, drain(c), "leases")["total"]; n != 0.0 {
		t.Errorf("%v leases after the TTL", n)
	}
	// A replay from the start: what is not in it is gone.
	if err := f.Command(k, v, 5, f.now); err != nil {
		t.Fatal(err)
	}
	f.BeginCommands()
	if _, ok := f.Lease(string(k)); !ok {
		t.Error("the lease is gone before the replay has caught up")
	}
	f.CommandsCaughtUp()
	if _, ok := f.Lease(string(k)); ok {
		t.Error("the lease outlived the replay")
	}
	f.Step()
	if n := last(t, drain(c), "leases")["total"]; n != 0.0 {
		t.Errorf("%v leases after the replay", n)
	}
}

func TestRefusalsAndEvents(t *testing.T) {
	f := hub(t)
	c, err := f.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	drain(c)
	value, err := events.Encode(events.Record{Service: "probe", Host: "a", Kind: events.KindRejectedCommand, Severity: events.Warning, Reason: "own address", Topic: "weir.commands.v1", Offset: 5})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Event(value, f.now); err != nil {
		t.Fatal(err)
	}
	if err := f.Event([]byte("{"), f.now); err == nil {
		t.Error("a broken event was taken")
	}
	if got := f.Refusals("weir.commands.v1", 5); len(got) != 1 || got[0] != "a: rejected-command: own address" {
		t.Errorf("refusals %v", got)
	}
	if got := f.Refusals("weir.commands.v1", 6); len(got) != 0 {
		t.Errorf("refusals %v", got)
	}
	f.Step()
	found := false
	for _, frame := range drain(c) {
		found = found || strings.HasPrefix(frame, "events ") && strings.Contains(frame, "own address")
	}
	if s := f.Stats(); !found || s.Bad != 1 || s.Events != 1 {
		t.Errorf("told %v, stats %+v", found, s)
	}
}

func TestAttacksAreToldAsTheyChange(t *testing.T) {
	f := hub(t)
	c, err := f.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	drain(c)
	r := attacks.Record{Host: "edge-1", Interface: "eth0", Rule: "S1", Vector: "spoofed SYN flood", Destination: netip.MustParseAddr("192.0.2.80"),
		Start: start, UpdatedAt: start, PeakPPS: 900, Sources: 240, Action: commands.RateLimit, Mode: "enforce"}
	put := func() string {
		t.Helper()
		key, value, err := attacks.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Attack(key, value); err != nil {
			t.Fatal(err)
		}
		f.Step()
		return string(key)
	}
	told := func(n int) map[string]any {
		t.Helper()
		news := last(t, drain(c), "attacks")
		if got := len(news["attacks"].([]any)); got != n {
			t.Fatalf("told of %d attacks, want %d: %v", got, n, news)
		}
		return news
	}
	first := put()
	if a := told(1)["attacks"].([]any)[0].(map[string]any); a["key"] != first || a["vector"] != "spoofed SYN flood" || a["destination"] != "192.0.2.80" || a["peak_pps"] != 900.0 || a["end"] != nil {
		t.Errorf("told %v", a)
	}
	r.Rule, r.Destination = "R1", netip.Addr{}
	put()
	if news := told(1); news["all"] != false {
		t.Errorf("what did not change was told again: %v", news)
	}
	// Read again from the start: one of them is no more.
	f.BeginAttacks()
	put()
	for _, frame := range drain(c) {
		if strings.HasPrefix(frame, "attacks ") {
			t.Errorf("told before all was read: %s", frame)
		}
	}
	f.AttacksCaughtUp()
	f.Step()
	if news := told(1); news["all"] != true {
		t.Errorf("after reading again: %v", news)
	}
	// And then none at all: the topic is another.
	f.BeginAttacks()
	f.AttacksCaughtUp()
	f.Step()
	if news := told(0); news["all"] != true {
		t.Errorf("after reading an empty topic: %v", news)
	}
	if err := f.Attack([]byte("nonsense"), []byte("{}")); err == nil || f.Stats().Bad != 1 {
		t.Errorf("a bad record: %v, %d bad", err, f.Stats().Bad)
	}
}
