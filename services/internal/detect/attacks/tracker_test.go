package attacks

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/detect/engine"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func everywhere(string) bool { return true }

func nowhere(string) bool { return false }

// order is a decision to issue a lease.
func order(t *testing.T, rule, match string, action commands.Action) engine.Decision {
	t.Helper()
	m, err := commands.ParseMatch(match)
	if err != nil {
		t.Fatal(err)
	}
	c := commands.Command{Target: schemas.Target{Kind: schemas.TargetInterface, Host: "h", Interface: "eth0"}, Match: m, Action: action, TTL: time.Minute,
		Issuer: engine.Issuer, Reason: rule + " some flood: 120 of something", Evidence: &commands.Evidence{Rule: rule, Measured: 120, Threshold: 100, Window: "1s",
			Interface: "h/eth0", BootID: "b", Seq: 9, Partition: 3, Offset: 77}}
	if action == commands.RateLimit {
		c.Rate = &commands.Rate{PPS: 5}
	}
	return engine.Decision{Step: engine.Issue, Key: c.Key(), Command: c, Interface: "h/eth0", Rule: rule, Measured: 120, Threshold: 100, Reason: c.Reason}
}

func dropping(mode string, drops ...status.LeaseDrops) *status.Record {
	return &status.Record{Host: "h", Interface: "eth0", Mode: mode, Filter: status.Filter{Drops: drops}}
}

// one returns the only update that is due.
func one(t *testing.T, list []Update) attacks.Record {
	t.Helper()
	if len(list) != 1 {
		t.Fatalf("%d updates, want one: %+v", len(list), list)
	}
	if _, _, err := attacks.Encode(list[0].Record); err != nil {
		t.Fatalf("an update that cannot be written: %v", err)
	}
	if list[0].Key != list[0].Record.Key() {
		t.Fatalf("key %q for %q", list[0].Key, list[0].Record.Key())
	}
	return list[0].Record
}

// TestLifeOfAnAttack: it opens with the first decision, grows with its leases and
// drops, is written at most once a second, and ends when nothing is left of it.
func TestLifeOfAnAttack(t *testing.T) {
	tr := New()
	at := begin
	d := order(t, "R1", "203.0.113.7/32", commands.Drop)
	tr.Decided(&d, begin.Add(-10*time.Millisecond), at)
	r := one(t, tr.Due(at, everywhere))
	if r.Key() != "h/eth0|R1|2026-01-02T03:04:04.990Z" || r.Vector != "some flood" || r.Action != commands.Drop || r.Leases != 1 || r.Sources != 1 ||
		r.Ended() || r.Evidence == nil || r.Evidence.Offset != 77 {
		t.Errorf("at first %+v", r)
	}

	tr.Rates(&rates.Record{Host: "h", Interface: "eth0", Top: []rates.Source{
		{Source: netip.MustParseAddr("203.0.113.7"), PPS: 5000, BPS: 2.4e6, Window1s: rates.Counts{Packets: 5000}},
		{Source: netip.MustParseAddr("203.0.113.8"), PPS: 900, BPS: 4e6, Window1s: rates.Counts{Packets: 900}},
	}})
	at = at.Add(500 * time.Millisecond)
	if list := tr.Due(at, everywhere); len(list) != 0 {
		t.Errorf("written twice within a second: %+v", list)
	}
	second := order(t, "R1", "203.0.113.8/32", commands.Drop)
	tr.Decided(&second, at, at)
	tr.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 1000, Bytes: 60_000}), everywhere, at)
	at = at.Add(500 * time.Millisecond)
	r = one(t, tr.Due(at, everywhere))
	if r.PeakPPS != 5000 || r.PeakBPS != 2.4e6 || r.Leases != 2 || r.Sources != 2 || r.Dropped != 1000 || r.Bytes != 60_000 || r.Mode != "enforce" ||
		len(r.Top) != 2 || r.Top[0].Key != d.Key || r.Top[0].Packets != 1000 {
		t.Errorf("as it goes on %+v", r)
	}
	if list := tr.Due(at.Add(5*time.Second), everywhere); len(list) != 0 {
		t.Errorf("written though nothing changed: %+v", list)
	}

	// Counters are cumulative, until the probe makes the entry anew.
	last := at.Add(6 * time.Second)
	tr.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 1500, Bytes: 90_000}), everywhere, last)
	tr.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 1500, Bytes: 90_000}), everywhere, last.Add(time.Second))
	if r = one(t, tr.Due(last.Add(time.Second), everywhere)); r.Dropped != 1500 || r.Bytes != 90_000 {
		t.Errorf("cumulative %+v", r)
	}
	last = last.Add(2 * time.Second)
	tr.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 10, Bytes: 600}), everywhere, last)

	at = last.Add(Linger)
	tr.Decided(&engine.Decision{Step: engine.Release, Key: d.Key}, at, at)
	tr.Decided(&engine.Decision{Step: engine.Release, Key: second.Key}, at, at)
	r = one(t, tr.Due(at, everywhere))
	if !r.End.Equal(last) || r.Dropped != 1510 || tr.Open() != 0 {
		t.Errorf("at the end %+v, %d open", r, tr.Open())
	}
	if list := tr.Due(at.Add(time.Minute), everywhere); len(list) != 0 {
		t.Errorf("after its end: %+v", list)
	}
}

// TestVectorsAreApart: one rule is one attack, each victim of signatures another,
// and observing is told as such.
func TestVectorsAreApart(t *testing.T) {
	tr := New()
	for _, d := range []engine.Decision{
		order(t, "R1", "203.0.113.7/32", commands.Drop),
		order(t, "R2", "source=203.0.113.9/32,protocol=tcp,tcp_flags=syn+!ack", commands.RateLimit),
		order(t, "S1", "destination=192.0.2.1/32,protocol=tcp,destination_port=80,tcp_flags=syn+!ack", commands.RateLimit),
		order(t, "S1", "destination=192.0.2.1/32,protocol=tcp,destination_port=443,tcp_flags=syn+!ack", commands.RateLimit),
		order(t, "S1", "destination=192.0.2.2/32,protocol=tcp,destination_port=80,tcp_flags=syn+!ack", commands.RateLimit),
	} {
		tr.Decided(&d, begin, begin)
	}
	tr.Rates(&rates.Record{Host: "h", Interface: "eth0", SYNSources10s: 3000,
		Top: []rates.Source{{Source: netip.MustParseAddr("203.0.113.9"), PPS: 400, BPS: 4e5, Window1s: counts(100, 300)}},
		Victims: []rates.Target{
			{Destination: netip.MustParseAddr("192.0.2.1"), Class: schemas.ClassSYN, Protocol: 6, Port: 80, Packets1s: 4000, Packets10s: 9000, Bytes1s: 240_000, Sources10s: 260},
			{Destination: netip.MustParseAddr("192.0.2.1"), Class: schemas.ClassTCPOther, Protocol: 6, Port: 80, Packets1s: 7000, Packets10s: 9000, Sources10s: 5},
			{Destination: netip.MustParseAddr("192.0.2.1"), Class: schemas.ClassSYN, Protocol: 6, Port: 22, Packets1s: 9000, Packets10s: 9000, Sources10s: 5},
			{Destination: netip.MustParseAddr("192.0.2.2"), Class: schemas.ClassSYN, Protocol: 6, Port: 80, Packets1s: 10, Packets10s: 90, Bytes1s: 600, Sources10s: 7},
		}})
	tr.Status(dropping("observe", status.LeaseDrops{Key: "interface:h/eth0|203.0.113.7/32|policy", Would: 7}), everywhere, begin)
	var got []string
	for _, u := range tr.Due(begin, everywhere) {
		r := &u.Record
		got = append(got, fmt.Sprintf("%s %s: %s %.0f pps %.0f bps, %d sources, %d leases, %d would", r.Rule, r.Destination, r.Action, r.PeakPPS, r.PeakBPS, r.Sources, r.Leases, r.Would))
	}
	want := []string{
		"R1 invalid IP: drop 0 pps 0 bps, 1 sources, 1 leases, 7 would",
		"R2 invalid IP: rate-limit 100 pps 100000 bps, 1 sources, 1 leases, 0 would",
		"S1 192.0.2.1: rate-limit 4000 pps 1920000 bps, 3000 sources, 2 leases, 0 would",
		"S1 192.0.2.2: rate-limit 10 pps 4800 bps, 7 sources, 1 leases, 0 would",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func counts(syn, other uint64) rates.Counts {
	c := rates.Counts{Packets: syn + other}
	c.ByClass[schemas.ClassSYN], c.ByClass[schemas.ClassTCPOther] = syn, other
	return c
}

// TestALapsedLeaseThatComesBackIsTheSameAttack, and one that does not ends it.
func TestALapsedLeaseThatComesBackIsTheSameAttack(t *testing.T) {
	tr := New()
	d := order(t, "R1", "203.0.113.7/32", commands.Drop)
	tr.Decided(&d, begin, begin)
	first := one(t, tr.Due(begin, everywhere))
	lapsed := begin.Add(time.Minute)
	tr.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 5}), everywhere, lapsed.Add(-time.Second))
	if r := one(t, tr.Due(lapsed, everywhere)); r.Ended() {
		t.Fatalf("over at once: %+v", r)
	}
	tr.Decided(&d, lapsed.Add(time.Second), lapsed.Add(time.Second))
	tr.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 9}), everywhere, lapsed.Add(2*time.Second))
	if r := one(t, tr.Due(lapsed.Add(9*time.Second), everywhere)); r.Key() != first.Key() || r.Sources != 1 || r.Leases != 2 || r.Dropped != 14 {
		t.Errorf("come back: %+v", r)
	}
	end := lapsed.Add(2*time.Second + Linger + time.Minute)
	if r := one(t, tr.Due(end, everywhere)); !r.End.Equal(lapsed.Add(2 * time.Second)) {
		t.Errorf("not come back: %+v", r)
	}
}

// TestTakenOver: another instance goes on from the two topics, and counts nothing
// twice.
func TestTakenOver(t *testing.T) {
	a, b := New(), New()
	d := order(t, "R1", "203.0.113.7/32", commands.Drop)
	lease := commands.NewLease(d.Command, 1, begin.Add(3*time.Millisecond), begin.Add(3*time.Millisecond))
	a.Decided(&d, begin, begin)
	r := one(t, a.Due(begin, everywhere))
	b.Command(&lease, begin)
	b.Learn(&r, false)
	b.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 100, Bytes: 6000}), nowhere, begin)
	a.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 100, Bytes: 6000}), everywhere, begin)
	r = one(t, a.Due(begin.Add(time.Second), everywhere))
	b.Learn(&r, false)
	if list := b.Due(begin.Add(time.Second), nowhere); len(list) != 0 {
		t.Errorf("somebody else's attack is written: %+v", list)
	}

	// a is gone; b decides from now on. A second source joins.
	b.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 130, Bytes: 7800}), everywhere, begin.Add(2*time.Second))
	second := order(t, "R1", "203.0.113.8/32", commands.Drop)
	b.Decided(&second, begin.Add(2*time.Second), begin.Add(2*time.Second))
	got := one(t, b.Due(begin.Add(2*time.Second), everywhere))
	if got.Key() != r.Key() || got.Dropped != 130 || got.Bytes != 7800 || got.Leases != 2 || got.Sources != 2 || !got.Start.Equal(begin) {
		t.Errorf("taken over: %+v", got)
	}

	// A third one knows nothing but the topics, and learns of the lease first.
	c := New()
	c.Command(&lease, begin.Add(3*time.Second))
	c.Learn(&got, true)
	if list := c.Due(begin.Add(3*time.Second), everywhere); len(list) != 0 {
		t.Errorf("a restart alone is no news: %+v", list)
	}
	c.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: 131, Bytes: 7860}), everywhere, begin.Add(3*time.Second))
	if r := one(t, c.Due(begin.Add(3*time.Second), everywhere)); r.Key() != got.Key() || r.Dropped != 131 || r.Leases != 2 {
		t.Errorf("after a restart: %+v", r)
	}
	// Its leases have lapsed while nobody was there: the attack is ended.
	e := New()
	e.Learn(&got, true)
	if r := one(t, e.Due(begin.Add(time.Hour), everywhere)); !r.Ended() || r.End.After(begin.Add(2*time.Second)) {
		t.Errorf("nobody's attack: %+v", r)
	}
}

// TestTwoInstancesTellOfOneAttack: the record that began first stands, and
// nothing is counted twice.
func TestTwoInstancesTellOfOneAttack(t *testing.T) {
	a, b := New(), New()
	first, second := order(t, "R1", "203.0.113.7/32", commands.Drop), order(t, "R1", "203.0.113.8/32", commands.Drop)
	a.Decided(&first, begin, begin)
	a.Status(dropping("enforce", status.LeaseDrops{Key: first.Key, Packets: 50}), everywhere, begin)
	byA := one(t, a.Due(begin, everywhere))
	b.Decided(&second, begin.Add(time.Second), begin.Add(time.Second))
	b.Status(dropping("enforce", status.LeaseDrops{Key: second.Key, Packets: 7}), everywhere, begin.Add(time.Second))
	byB := one(t, b.Due(begin.Add(time.Second), everywhere))
	if byA.Key() == byB.Key() {
		t.Fatal("the test is about two keys")
	}
	b.Learn(&byA, true)
	list := b.Due(begin.Add(2*time.Second), everywhere)
	if len(list) != 2 || list[0].Tombstone || list[0].Key != byA.Key() || list[0].Record.Dropped != 57 || !list[1].Tombstone || list[1].Key != byB.Key() {
		t.Errorf("b: %+v", list)
	}
	// Where the other one came later, it is the one that goes.
	a.Learn(&byB, true)
	if list := a.Due(begin.Add(2*time.Second), everywhere); len(list) != 1 || !list[0].Tombstone || list[0].Key != byB.Key() {
		t.Errorf("a: %+v", list)
	}
	a.Dropped(byB.Key())
	if a.Open() != 1 {
		t.Errorf("%d open", a.Open())
	}
}

// TestUnwritten: what a broker did not take is written again, ends as well.
func TestUnwritten(t *testing.T) {
	tr := New()
	d := order(t, "R1", "203.0.113.7/32", commands.Drop)
	tr.Decided(&d, begin, begin)
	for range 3 {
		list := tr.Due(begin, everywhere)
		one(t, list)
		tr.Failed(&list[0])
	}
	at := begin.Add(2 * time.Minute)
	for range 3 {
		list := tr.Due(at, everywhere)
		if r := one(t, list); !r.Ended() {
			t.Errorf("%+v", r)
		}
		tr.Failed(&list[0])
	}
	one(t, tr.Due(at, everywhere))
	if list := tr.Due(at, everywhere); len(list) != 0 {
		t.Errorf("again though written: %+v", list)
	}
}

// TestForeignLeasesAreNoAttacks: only what the policy orders with evidence is.
func TestForeignLeasesAreNoAttacks(t *testing.T) {
	tr := New()
	for _, change := range []func(*commands.Command){
		func(c *commands.Command) { c.Issuer = "alice" },
		func(c *commands.Command) { c.Evidence = nil },
		func(c *commands.Command) { c.Evidence = &commands.Evidence{Rule: "R1"} },
		func(c *commands.Command) { c.Evidence = &commands.Evidence{Rule: "a b", Interface: "h/eth0"} },
	} {
		d := order(t, "R1", "203.0.113.7/32", commands.Drop)
		change(&d.Command)
		l := commands.NewLease(d.Command, 1, begin, begin)
		tr.Command(&l, begin)
	}
	if tr.Open() != 0 {
		t.Errorf("%d attacks", tr.Open())
	}
}

// TestBounded: whatever comes, the record can be written, and nothing is left
// when all leases are gone.
func TestBounded(t *testing.T) {
	tr, at := New(), begin
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		d := order(t, fmt.Sprintf("R%d", i%3), fmt.Sprintf("203.0.%d.%d/32", i%250, rng.IntN(250)), commands.Drop)
		tr.Decided(&d, at, at)
		tr.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: rng.Uint64N(1000)}), everywhere, at)
		at = at.Add(100 * time.Millisecond)
		for _, u := range tr.Due(at, everywhere) {
			if _, _, err := attacks.Encode(u.Record); err != nil {
				t.Fatal(err)
			}
		}
	}
	tr.Due(at.Add(10*time.Minute), everywhere)
	if tr.Open() != 0 || len(tr.leases) != 0 || len(tr.at) != 0 || len(tr.unwritten) != 0 {
		t.Errorf("left: %d open, %d leases, %d interfaces", tr.Open(), len(tr.leases), len(tr.at))
	}
}

// TestAlertsAreAttacksWithoutLeases: what the engine only tells of is one attack
// as long as it goes on telling.
func TestAlertsAreAttacksWithoutLeases(t *testing.T) {
	tr := New()
	d := engine.Decision{Step: engine.Alert, Interface: "h/eth0", Rule: "S5", Measured: 9000, Threshold: 4000, Window: time.Second,
		Reason: "S5 unexplained excess: 9000 udp in 1s", Evidence: &commands.Evidence{Rule: "S5", Interface: "h/eth0", BootID: "b", Seq: 4}}
	tr.Decided(&d, begin, begin)
	first := one(t, tr.Due(begin, everywhere))
	if first.Action != commands.Observe || first.Vector != "unexplained excess" || first.Leases != 0 || first.PeakPPS != 9000 || first.Evidence == nil {
		t.Errorf("%+v", first)
	}
	again := begin.Add(10 * time.Minute)
	if list := tr.Due(again, everywhere); len(list) != 0 {
		t.Errorf("between alerts: %+v", list)
	}
	d.Measured = 12_000
	tr.Decided(&d, again, again)
	if r := one(t, tr.Due(again, everywhere)); r.Key() != first.Key() || r.PeakPPS != 12_000 || r.Ended() {
		t.Errorf("told again: %+v", r)
	}
	if r := one(t, tr.Due(again.Add(alertLinger), everywhere)); !r.End.Equal(again) {
		t.Errorf("told no more: %+v", r)
	}
}

// TestAnAlertBesideALeaseKeepsNothingOpen: the leases say how long it goes on.
func TestAnAlertBesideALeaseKeepsNothingOpen(t *testing.T) {
	tr := New()
	d := order(t, "R6", "203.0.113.7/32", commands.RateLimit)
	tr.Decided(&d, begin, begin)
	tr.Decided(&engine.Decision{Step: engine.Alert, Interface: "h/eth0", Rule: "R6", Reason: "R6 too much: 60000 packets in 1s"}, begin, begin)
	one(t, tr.Due(begin, everywhere))
	if r := one(t, tr.Due(begin.Add(time.Minute+Linger), everywhere)); !r.Ended() || r.Leases != 1 {
		t.Errorf("%+v", r)
	}
}

// TestFiguresOfALongAttackAreWrittenLessOften, but what is ordered at once.
func TestFiguresOfALongAttackAreWrittenLessOften(t *testing.T) {
	tr := New()
	d := order(t, "R2", "203.0.113.7/32", commands.RateLimit)
	d.Command.TTL = time.Hour
	tr.Decided(&d, begin, begin)
	written, at := 0, begin
	for i := range 600 {
		at = begin.Add(time.Duration(i) * time.Second)
		tr.Status(dropping("enforce", status.LeaseDrops{Key: d.Key, Packets: uint64(i)}), everywhere, at)
		written += len(tr.Due(at, everywhere))
	}
	if written < 60 || written > 120 {
		t.Errorf("written %d times in ten minutes", written)
	}
	harder := d
	harder.Step, harder.Command.Action, harder.Command.Rate = engine.Renew, commands.Drop, nil
	tr.Due(at.Add(20*time.Second), everywhere)
	at = at.Add(21 * time.Second)
	tr.Decided(&harder, at, at)
	if r := one(t, tr.Due(at, everywhere)); r.Action != commands.Drop {
		t.Errorf("%+v", r)
	}
}

// BenchmarkDue is one look through 1,000 attacked interfaces with 64 leases each,
// of which a tenth has news.
func BenchmarkDue(b *testing.B) {
	tr := New()
	for i := range 1000 {
		for j := range 64 {
			c := commands.Command{Target: schemas.Target{Kind: schemas.TargetInterface, Host: fmt.Sprintf("h%d", i), Interface: "eth0"},
				Match:  commands.Match{Source: netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(j)}), 32)},
				Action: commands.Drop, TTL: 24 * time.Hour, Issuer: engine.Issuer, Reason: "R1 flood: much",
				Evidence: &commands.Evidence{Rule: "R1", Interface: fmt.Sprintf("h%d/eth0", i)}}
			d := engine.Decision{Step: engine.Issue, Key: c.Key(), Command: c}
			tr.Decided(&d, begin, begin)
		}
	}
	at := begin.Add(time.Minute)
	tr.Due(at, everywhere)
	b.ResetTimer()
	b.ReportAllocs()
	for i := range b.N {
		at = at.Add(250 * time.Millisecond)
		for j := range 100 {
			s := status.Record{Host: fmt.Sprintf("h%d", (100*i+j)%1000), Interface: "eth0", Mode: "enforce"}
			s.Filter.Drops = []status.LeaseDrops{{Key: "interface:" + s.Host + "/eth0|203.0.113.7/32|policy", Packets: uint64(i)}}
			tr.Status(&s, everywhere, at)
		}
		tr.Due(at, everywhere)
	}
}
