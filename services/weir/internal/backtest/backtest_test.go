package backtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/detect/rules"
	"github.com/weir-net/weir/services/weir/internal/history"
)

var begin = time.UnixMilli(1_767_323_045_000).UTC()

const tick = 250 * time.Millisecond

// sends is what one source sends in a window.
type sends struct {
	address string
	class   schemas.Class
	packets uint64
}

// film makes up a history: windows of 250 ms, one after the other, on several
// interfaces.
type film struct {
	t       testing.TB
	records []history.Record
	seq     map[string]uint64
	offset  int64
	at      time.Time
}

func newFilm(t testing.TB) *film { return &film{t: t, seq: map[string]uint64{}, at: begin} }

// play adds windows of an interface until the span has passed.
func (f *film) play(name string, span time.Duration, all ...sends) *film {
	f.t.Helper()
	host, ifname, err := schemas.ParseInterfaceKey(name)
	if err != nil {
		f.t.Fatal(err)
	}
	for end := f.at.Add(span); f.at.Before(end); {
		f.seq[name]++
		r := counts.Record{Host: host, Interface: ifname, BootID: "b", Seq: f.seq[name], Chunks: 1, Duration: tick,
			WindowStart: f.at, WindowEnd: f.at.Add(tick), Totals: &counts.Totals{}}
		for _, x := range all {
			s := counts.Source{Address: netip.MustParseAddr(x.address), PortPairs: 1}
			s.Packets, s.Bytes = x.packets, 60*x.packets
			s.ByClass[x.class] = x.packets
			if x.class == schemas.ClassUDP {
				s.UDPBytes = s.Bytes
			}
			r.Sources = append(r.Sources, s)
			r.Totals.Add(s.Counters)
		}
		value, err := counts.Encode(r)
		if err != nil {
			f.t.Fatal(err)
		}
		f.at = f.at.Add(tick)
		f.offset++
		f.records = append(f.records, history.Record{Kind: history.Counts, Partition: 3, Offset: f.offset, Timestamp: f.at.Add(7 * time.Millisecond),
			Key: []byte(name), Value: value})
	}
	return f
}

// command adds a command at the time that the film has come to.
func (f *film) command(c commands.Command) *film {
	f.t.Helper()
	key, value, err := commands.Encode(c)
	if err != nil {
		f.t.Fatal(err)
	}
	f.offset++
	f.records = append(f.records, history.Record{Kind: history.Commands, Offset: f.offset, Timestamp: f.at, Key: key, Value: value})
	return f
}

// run runs the film.
func (f *film) run(o Options) *Result {
	f.t.Helper()
	r := New(o)
	for i := range f.records {
		switch x := &f.records[i]; x.Kind {
		case history.Counts:
			r.Counts(x)
		case history.Commands:
			r.Command(x, x.Timestamp.Equal(begin))
		case history.Events:
			r.Event(x)
		}
	}
	return r.Result()
}

// edited returns the embedded rules with replacements.
func edited(t testing.TB, pairs ...string) *rules.Rules {
	t.Helper()
	text := string(rules.Defaults())
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("%q is not in the rules", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	r, err := rules.Parse("edited", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const lessSYN, moreSYN = "{metric: syn, at_least: 100}", "{metric: syn, at_least: 1000}"

// flood is a film of one quiet second, ten seconds of a flood of 400 SYN/s from
// one source, and then of that source's silence.
func flood(t *testing.T) *film {
	web := sends{"198.51.100.9", schemas.ClassTCPOther, 20}
	return newFilm(t).play("h/eth0", time.Second, web).
		play("h/eth0", 10*time.Second, web, sends{"203.0.113.7", schemas.ClassSYN, 100}).
		play("h/eth0", 100*time.Second, web)
}

func line(r *Result, match string) *Line {
	for i := range r.Leases {
		if r.Leases[i].Match == match {
			return &r.Leases[i]
		}
	}
	return nil
}

func TestTheSameRulesDecideTheSame(t *testing.T) {
	r := flood(t).run(Options{Old: edited(t), New: edited(t)})
	x := line(r, "203.0.113.7/32")
	if r.Differs() || x == nil || x.Change != Same || x.Old.Rule != "R1" || x.Old.Measured < 100 {
		t.Fatalf("%+v: %+v", r.Changes, x)
	}
	// The second window of the flood makes it 100 SYN and more.
	if want := begin.Add(time.Second + tick); x.New.First.Before(want) || x.New.First.After(want.Add(tick)) {
		t.Errorf("decided at %v, want at about %v", x.New.First, want)
	}
	if x.New.Evidence == nil || x.New.Evidence.Partition != 3 || x.New.Evidence.Offset == 0 {
		t.Errorf("evidence %+v", x.New.Evidence)
	}
	// All of the flood but its first windows would have been dropped.
	if x.New.Packets < 3600 || x.New.Packets > 4000 {
		t.Errorf("%d packets would have been dropped, want nearly 4,000", x.New.Packets)
	}
	if r.Windows != 444 || r.Interfaces != 1 || r.Bad != 0 || !r.From.Equal(begin.Add(tick)) || len(r.NewAttacks) == 0 || len(r.Notes) != 3 {
		t.Errorf("%d windows of %d interfaces from %v, %d attacks", r.Windows, r.Interfaces, r.From, len(r.NewAttacks))
	}
	told := 0
	for _, a := range r.NewAttacks {
		if a.Rule != "R1" {
			continue
		}
		if told++; !a.Ended() || a.Dropped != x.New.Packets || a.PeakPPS < 350 {
			t.Errorf("attack %+v", a)
		}
	}
	if told != 1 {
		t.Errorf("%d attacks by R1, want one", told)
	}
}

func TestWhatChanges(t *testing.T) {
	for _, c := range []struct {
		name     string
		old, new []string
		match    string
		want     Change
	}{
		{"a higher threshold", nil, []string{lessSYN, moreSYN}, "203.0.113.7/32", OnlyOld},
		{"a lower threshold", []string{lessSYN, moreSYN}, nil, "203.0.113.7/32", OnlyNew},
		{"a threshold that is reached later", nil, []string{lessSYN, "{metric: syn, at_least: 250}"}, "203.0.113.7/32", Later},
		{"a threshold that is reached sooner", []string{lessSYN, "{metric: syn, at_least: 250}"}, nil, "203.0.113.7/32", Earlier},
		{"another action", nil, []string{"action: drop", "action: observe"}, "203.0.113.7/32", Changed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := flood(t).run(Options{Old: edited(t, c.old...), New: edited(t, c.new...)})
			x := line(r, c.match)
			if !r.Differs() || x == nil || x.Change != c.want {
				t.Errorf("%+v: %+v", r.Changes, x)
			}
			if (x.Old == nil) != (c.want == OnlyNew) || (x.New == nil) != (c.want == OnlyOld) {
				t.Errorf("old %+v, new %+v", x.Old, x.New)
			}
			for _, rule := range r.Rules {
				if rule.Rule == "R1" && (rule.Old.Leases == 0) != (x.Old == nil) {
					t.Errorf("rule %+v", rule)
				}
			}
		})
	}
}

// TestLeasesAreRenewedWhileTheFloodGoesOn, and released when it has been over for
// long enough: what a lease would have dropped is in the counts.
func TestLeasesAreRenewedWhileTheFloodGoesOn(t *testing.T) {
	attacker := sends{"203.0.113.7", schemas.ClassSYN, 100}
	f := newFilm(t).play("h/eth0", 3*time.Minute, attacker).play("h/eth0", 2*time.Minute, sends{"198.51.100.9", schemas.ClassTCPOther, 20})
	m := line(f.run(Options{Old: edited(t), New: edited(t)}), "203.0.113.7/32").New
	if m.Issued != 1 || m.Renewed < 2 || m.Released != 1 || m.Last.Before(begin.Add(3*time.Minute)) || m.Last.After(begin.Add(4*time.Minute+30*time.Second)) {
		t.Errorf("%+v", m)
	}
	short := newFilm(t).play("h/eth0", time.Second, attacker).play("h/eth0", 2*time.Minute, sends{"198.51.100.9", schemas.ClassTCPOther, 20})
	if m := line(short.run(Options{Old: edited(t), New: edited(t)}), "203.0.113.7/32").New; m.Renewed != 0 || m.Last.After(begin.Add(62*time.Second)) {
		t.Errorf("after a short flood %+v", m)
	}
}

// TestAllowsHold: what an operator allowed then is not blocked now.
func TestAllowsHold(t *testing.T) {
	allow := commands.Command{Match: commands.Match{Source: netip.MustParsePrefix("203.0.113.0/24")}, Action: commands.Allow, TTL: time.Hour, Issuer: "alice"}
	attacker := sends{"203.0.113.7", schemas.ClassSYN, 100}
	r := newFilm(t).command(allow).play("h/eth0", 5*time.Second, attacker).run(Options{Old: edited(t), New: edited(t)})
	if len(r.Leases) != 0 {
		t.Errorf("allowed before: %+v", r.Leases)
	}
	f := newFilm(t).command(allow).play("h/eth0", time.Second, attacker)
	f.records = append(f.records, history.Record{Kind: history.Commands, Timestamp: f.at, Key: []byte(allow.Key())})
	r = f.play("h/eth0", 3*time.Second, attacker).run(Options{Old: edited(t), New: edited(t)})
	if x := line(r, "203.0.113.7/32"); x == nil || x.New.First.Before(begin.Add(time.Second)) {
		t.Errorf("no longer allowed: %+v", r.Leases)
	}
}

// TestWhatWasDoneStandsBeside: the commands of then are compared.
func TestWhatWasDoneStandsBeside(t *testing.T) {
	policys := func(source string) commands.Command {
		return commands.Command{Target: schemas.Target{Kind: schemas.TargetInterface, Host: "h", Interface: "eth0"},
			Match: commands.Match{Source: netip.MustParsePrefix(source)}, Action: commands.Drop, TTL: time.Minute, Issuer: "policy",
			Evidence: &commands.Evidence{Rule: "R1", Interface: "h/eth0"}}
	}
	attacker := sends{"203.0.113.7", schemas.ClassSYN, 100}
	f := newFilm(t).command(policys("203.0.113.99/32")).play("h/eth0", 2*time.Second, attacker).
		command(policys("203.0.113.7/32")).command(policys("203.0.113.50/32")).play("h/eth0", 2*time.Second, attacker).command(policys("203.0.113.7/32"))
	r := f.run(Options{Old: edited(t), New: edited(t)})
	if x := line(r, "203.0.113.7/32"); x.Change != Same || x.Done == nil || x.Done.Renewed != 1 || !x.Done.First.Equal(begin.Add(2*time.Second)) {
		t.Errorf("done by all: %+v", x)
	}
	if x := line(r, "203.0.113.50/32"); x == nil || x.Change != Neither || x.Interface != "h/eth0" || x.Done.Rule != "R1" {
		t.Errorf("done by nobody now: %+v", x)
	}
	if x := line(r, "203.0.113.99/32"); x != nil {
		t.Errorf("older than the history: %+v", x)
	}
	if r.Differs() {
		t.Error("what was done is no change between the rules")
	}
}

// TestEventsTellWhatTheCommandsTopicHasForgotten, and nothing is counted twice
// that both tell of.
func TestEventsTellWhatTheCommandsTopicHasForgotten(t *testing.T) {
	attacker := sends{"203.0.113.7", schemas.ClassSYN, 100}
	key := "interface:h/eth0|203.0.113.7/32|policy"
	f := newFilm(t).play("h/eth0", time.Second, attacker)
	tell := func(step events.Step) {
		e := events.Record{Kind: events.KindDecision, Severity: events.Info, Service: "policy", Host: "h", Interface: "eth0", Key: key, Rule: "R1", Step: step, Action: "drop"}
		value, err := events.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		f.records = append(f.records, history.Record{Kind: history.Events, Timestamp: f.at, Value: value})
	}
	tell(events.StepIssue)
	f.play("h/eth0", time.Second, attacker)
	tell(events.StepRenew)
	f.play("h/eth0", time.Second, attacker)
	tell(events.StepRelease)
	f.records = append(f.records, history.Record{Kind: history.Commands, Timestamp: f.at, Key: []byte(key)}) // compaction left the tombstone
	r := f.run(Options{Old: edited(t), New: edited(t)})
	x := line(r, "203.0.113.7/32")
	if x == nil || x.Done == nil || x.Done.Rule != "R1" || x.Done.Action != commands.Drop || x.Done.Renewed != 1 || x.Done.Ended == nil ||
		!x.Done.First.Equal(begin.Add(time.Second)) || len(r.Rules) == 0 || r.Rules[0].Done != 1 {
		t.Errorf("%+v, %+v", x, r.Rules)
	}
}

// TestSignaturesAreMeasuredByTheirVictim, whoever sends.
func TestSignaturesAreMeasuredByTheirVictim(t *testing.T) {
	f := newFilm(t)
	victim := counts.Target{Destination: netip.MustParseAddr("192.0.2.80"), Class: schemas.ClassUDP, Protocol: 17, Port: 53, Packets: 400, Bytes: 400_000, SourceBits: ^uint64(0)}
	other := counts.Target{Destination: netip.MustParseAddr("192.0.2.80"), Class: schemas.ClassSYN, Protocol: 6, Port: 53, Packets: 7, SourceBits: 1}
	for i := range 40 {
		r := counts.Record{Host: "h", Interface: "eth0", BootID: "b", Seq: uint64(i + 1), Chunks: 1, Duration: tick, WindowStart: f.at, WindowEnd: f.at.Add(tick), Totals: &counts.Totals{}}
		r.Totals.SourcesSketch = make([]byte, 1024)
		for j := range 200 {
			r.Totals.SourcesSketch[5*j] = 1
			s := counts.Source{Address: netip.AddrFrom4([4]byte{203, 0, 113, byte(j)}), PortPairs: 1}
			s.Packets, s.Bytes, s.UDPBytes = 2, 2000, 2000
			s.ByClass[schemas.ClassUDP] = 2
			r.Sources = append(r.Sources, s)
			r.Totals.Add(s.Counters)
		}
		r.Totals.Victims = []counts.Target{victim, other}
		value, err := counts.Encode(r)
		if err != nil {
			t.Fatal(err)
		}
		f.at = f.at.Add(tick)
		f.records = append(f.records, history.Record{Kind: history.Counts, Offset: int64(i), Timestamp: f.at, Key: []byte("h/eth0"), Value: value})
	}
	r := f.run(Options{Old: edited(t), New: edited(t)})
	var x *Line
	for i := range r.Leases {
		if !strings.HasPrefix(r.Leases[i].Match, "destination=192.0.2.80/32,protocol=udp,source_port=53") {
			t.Errorf("a lease on %s", r.Leases[i].Match)
			continue
		}
		x = &r.Leases[i]
	}
	// Windows after the decision count in full; there is one in the first two.
	if x == nil || x.New.Packets%400 != 0 || x.New.Packets < 38*400 || x.New.Packets > 39*400 {
		t.Errorf("signature %+v", x)
	}
	// What is protected passes the signature by an allow, which drops nothing.
	protected := netip.MustParsePrefix("203.0.113.0/28")
	allows := 0
	r = f.run(Options{Old: edited(t), New: edited(t), Protected: []netip.Prefix{protected}})
	for _, x := range r.Leases {
		if x.New.Action == commands.Allow {
			if allows++; x.New.Packets != 0 {
				t.Errorf("an allow drops: %+v", x.New)
			}
		}
	}
	if allows == 0 {
		t.Error("no allow for what is protected")
	}
}

// TestDeterministic: the same history gives the same bytes.
func TestDeterministic(t *testing.T) {
	var first []byte
	for range 5 {
		f := newFilm(t)
		for i := range 40 {
			var all []sends
			for j := range 30 {
				all = append(all, sends{fmt.Sprintf("203.0.%d.%d", j%7, j), schemas.Class(j % schemas.NumClasses), uint64(10 * (i + j))})
			}
			f.play(fmt.Sprintf("h%d/eth0", i%5), 2*time.Second, all...)
		}
		f.records = append(f.records, history.Record{Kind: history.Counts, Key: []byte("h/eth0"), Value: []byte("nonsense"), Timestamp: f.at}, f.records[3])
		r := f.run(Options{Old: edited(t), New: edited(t, lessSYN, moreSYN)})
		if r.Bad != 1 || r.Duplicates != 1 || len(r.Leases) < 20 {
			t.Fatalf("%d bad, %d duplicates, %d leases", r.Bad, r.Duplicates, len(r.Leases))
		}
		got, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Fatalf("another result of the same history:\n%s\n%s", got, first)
		}
	}
}

// TestAHostWithAnotherTime does not hide the others: the broker's stamp is
// believed where a window's end is far from it.
func TestAHostWithAnotherTime(t *testing.T) {
	attacker := sends{"203.0.113.7", schemas.ClassSYN, 100}
	f := newFilm(t).play("a/eth0", 2*time.Second, attacker)
	ahead := newFilm(t)
	ahead.at = begin.Add(24 * time.Hour)
	ahead.play("b/eth0", time.Second, attacker)
	for i := range ahead.records {
		ahead.records[i].Timestamp = f.at
	}
	f.records = append(f.records, ahead.records...)
	f.play("c/eth0", 2*time.Second, attacker)
	r := f.run(Options{Old: edited(t), New: edited(t)})
	got := map[string]bool{}
	for _, x := range r.Leases {
		got[x.Interface] = true
	}
	if !got["a/eth0"] || !got["c/eth0"] || r.To.After(begin.Add(time.Hour)) {
		t.Errorf("decided on %v, until %v", got, r.To)
	}
}
