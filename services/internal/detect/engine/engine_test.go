package engine

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// embedded are the rules, which nobody changes.
var embedded = sync.OnceValues(func() (*rules.Rules, error) { return rules.Load("") })

func newEngine(tb testing.TB, protected ...netip.Prefix) *Engine {
	tb.Helper()
	r, err := embedded()
	if err != nil {
		tb.Fatal(err)
	}
	return New(Options{Rules: r, Protected: protected})
}

// packets are counts by class, for tests to write down.
type packets struct{ syn, synack, rst, tcp, udp, udpBytes, icmp, frag, other uint64 }

func (p packets) counts() rates.Counts {
	c := rates.Counts{UDPBytes: p.udpBytes}
	c.ByClass = [schemas.NumClasses]uint64{p.syn, p.synack, p.rst, p.tcp, p.udp, p.icmp, p.frag, p.other}
	for _, n := range c.ByClass {
		c.Packets += n
	}
	return c
}

func record(sources ...rates.Source) *rates.Record {
	return &rates.Record{Host: "h", Interface: "eth0", BootID: "b", Seq: 9, End: now, Top: sources, EvidencePartition: 3, EvidenceOffset: 77}
}

func source(a string, one, ten packets, pairs uint32) rates.Source {
	return rates.Source{Source: netip.MustParseAddr(a), Window1s: one.counts(), Window10s: ten.counts(), PortPairs: pairs}
}

func TestSourceRules(t *testing.T) {
	const a = "203.0.113.9"
	cases := []struct {
		name string
		s    rates.Source
		want string // "<rule> <match> <action>", empty for none
	}{
		{"SYN flood", source(a, packets{syn: 100, tcp: 100}, packets{syn: 100, tcp: 400}, 1), "R1 203.0.113.9/32 drop"},
		{"SYN flood from where healthy clients are", source(a, packets{syn: 100, tcp: 100}, packets{syn: 100, tcp: 5000}, 1), "R1 source=203.0.113.9/32,protocol=tcp,tcp_flags=syn+!ack rate-limit"},
		{"just under a SYN flood", source(a, packets{syn: 99}, packets{syn: 59}, 1), ""},
		{"many SYN among more TCP", source(a, packets{syn: 130, tcp: 657}, packets{syn: 900, tcp: 6100}, 64), ""},
		{"HTTP flood", source(a, packets{syn: 20, tcp: 60}, packets{syn: 200, tcp: 700}, 64), "R2 source=203.0.113.9/32,protocol=tcp,tcp_flags=syn+!ack rate-limit"},
		{"slow connections", source(a, packets{syn: 6, tcp: 20}, packets{syn: 60, tcp: 270}, 64), "R2 source=203.0.113.9/32,protocol=tcp,tcp_flags=syn+!ack rate-limit"},
		{"healthy client: a sixth", source(a, packets{syn: 100, tcp: 500}, packets{syn: 1000, tcp: 5000}, 64), ""},
		{"few connections", source(a, packets{syn: 59}, packets{syn: 59}, 1), ""},
		{"UDP flood of small frames", source(a, packets{udp: 1000, udpBytes: 60_000}, packets{}, 1), "R3 203.0.113.9/32 drop"},
		{"UDP flood of many ports", source(a, packets{udp: 1000, udpBytes: 1_400_000}, packets{}, 32), "R3 203.0.113.9/32 drop"},
		{"QUIC download", source(a, packets{udp: 5000, udpBytes: 6_000_000}, packets{}, 2), ""},
		{"GRE tunnel", source(a, packets{other: 566}, packets{other: 5660}, 0), ""},
		{"NFS over UDP", source(a, packets{udp: 300, udpBytes: 400_000, frag: 1550}, packets{}, 1), ""},
		{"bulk TCP", source(a, packets{syn: 1, tcp: 8000}, packets{syn: 10, tcp: 80_000}, 2), ""},
		{"ping flood", source(a, packets{icmp: 200}, packets{}, 0), "R4 source=203.0.113.9/32,protocol=icmp drop"},
		{"ping flood over IPv6", source("2001:db8:1:2::", packets{icmp: 200}, packets{}, 0), "R4 source=2001:db8:1:2::/64,protocol=icmpv6 drop"},
		{"from nowhere", source("0.0.0.0", packets{syn: 5000}, packets{}, 0), ""},
		{"from multicast", source("ff02::1", packets{icmp: 5000}, packets{}, 0), ""},
		{"from a link-local neighbour", source("fe80::1", packets{icmp: 5000}, packets{}, 0), ""},
		{"from a protected prefix", source("192.0.2.7", packets{syn: 5000}, packets{}, 0), ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := newEngine(t, netip.MustParsePrefix("192.0.2.0/24"))
			var got []string
			for _, d := range e.Rates(record(c.s), now) {
				got = append(got, d.Rule+" "+d.Command.Match.String()+" "+string(d.Command.Action))
				if d.Command.TTL != time.Minute || d.Command.Target.String() != "interface:h/eth0" || d.Command.Issuer != "policy" {
					t.Errorf("command %+v", d.Command)
				}
				if ev := d.Command.Evidence; ev == nil || ev.Rule != d.Rule || ev.Measured < ev.Threshold || ev.Seq != 9 || ev.Offset != 77 {
					t.Errorf("evidence %+v", ev)
				}
				if _, _, err := commands.Encode(d.Command); err != nil {
					t.Errorf("the command cannot be written: %v", err)
				}
			}
			if s := strings.Join(got, "; "); s != c.want {
				t.Errorf("got %q, want %q", s, c.want)
			}
			if again := e.Rates(record(c.s), now.Add(250*time.Millisecond)); len(again) != 0 {
				t.Errorf("decided again: %+v", again)
			}
		})
	}
}

// flood is a spoofed SYN flood of n packets from as many sources, with the
// estimates that an aggregator would have: a victim's source count saturates.
func flood(n uint64, port uint16) *rates.Record {
	r := record()
	c := packets{syn: n}.counts()
	r.Window1s, r.Window10s = c, c
	r.SYNSources1s, r.Sources1s = n, n
	r.Victims = []rates.Target{{Destination: netip.MustParseAddr("198.51.100.1"), Class: schemas.ClassSYN, Protocol: 6, Port: port,
		Packets1s: n, Packets10s: n, Sources1s: min(n, 266), Sources10s: min(n, 266)}}
	for i := range uint32(256) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0b000000+i*4097)
		r.Top = append(r.Top, rates.Source{Source: netip.AddrFrom4(b), Window1s: packets{syn: 1}.counts(), Window10s: packets{syn: 2}.counts()})
	}
	return r
}

func TestReasonsSayWhatWasMeasured(t *testing.T) {
	for want, s := range map[string]rates.Source{
		"R2 connection flood (HTTP, slow connections): 200 syn in 10s (≥ 60), 22 % of its TCP (≥ 18 %)": source("203.0.113.9", packets{syn: 20, tcp: 60}, packets{syn: 200, tcp: 700}, 64),
		"R3 UDP flood from one source: 1000 udp in 1s (≥ 1000), 60 udp mean frame in 1s (< 200)":        source("203.0.113.9", packets{udp: 1000, udpBytes: 60_000}, packets{}, 1),
		"R3 UDP flood from one source: 1000 udp in 1s (≥ 1000), 40 port pairs in 1s (≥ 32)":             source("203.0.113.9", packets{udp: 1000, udpBytes: 900_000}, packets{}, 40),
		"R6 flood of another kind from one source: 50000 packets in 1s (≥ 50000)":                       source("203.0.113.9", packets{rst: 50_000}, packets{}, 1),
	} {
		if d := newEngine(t).Rates(record(s), now); len(d) != 1 || d[0].Reason != want || d[0].Command.Reason != want {
			t.Errorf("got %+v, want %q", d, want)
		}
	}
}

func TestSpoofedFloodWritesOneSignatureAndNoSource(t *testing.T) {
	for _, n := range []uint64{300, 5000, 1_000_000} {
		e := newEngine(t)
		d := e.Rates(flood(n, 25565), now)
		if len(d) != 1 || d[0].Rule != "S1" {
			t.Fatalf("%d packets: %+v", n, d)
		}
		if got, want := d[0].Command.Match.String(), "destination=198.51.100.1/32,protocol=tcp,destination_port=25565,tcp_flags=syn+!ack"; got != want {
			t.Errorf("match %s, want %s", got, want)
		}
		if d[0].Command.Action != commands.RateLimit || d[0].Command.Rate == nil {
			t.Errorf("command %+v", d[0].Command)
		}
	}
	if d := newEngine(t).Rates(flood(299, 25565), now); len(d) != 0 {
		t.Errorf("299 packets: %+v", d)
	}
}

// TestSpoofedFloodNeedsManyLightSources holds the rule at its bounds.
func TestSpoofedFloodNeedsManyLightSources(t *testing.T) {
	for _, c := range []struct {
		packets, sources uint64
		want             int
	}{{300, 100, 1}, {300, 99, 0}, {299, 100, 0}, {450, 150, 1}, {460, 150, 0}} {
		r := flood(c.packets, 80)
		r.Top = nil
		r.SYNSources1s, r.Victims[0].Sources1s = c.sources, c.sources
		if d := newEngine(t).Rates(r, now); len(d) != c.want {
			t.Errorf("%d packets from %d sources: %s", c.packets, c.sources, brief(d))
		}
	}
}

func TestSpoofedFloodAtRandomPorts(t *testing.T) {
	r := flood(2000, 0)
	var victims []rates.Target
	for p := uint16(1); p <= 60; p++ {
		v := r.Victims[0]
		v.Port, v.Packets1s, v.Sources1s = p, 30, 30
		victims = append(victims, v)
	}
	r.Victims = victims
	d := newEngine(t).Rates(r, now)
	if len(d) != 1 || d[0].Command.Match.String() != "destination=198.51.100.1/32,protocol=tcp,tcp_flags=syn+!ack" {
		t.Fatalf("decisions %+v", d)
	}
}

// TestOneLoudSourceIsNoSpoofedFlood: many clients with a SYN each, and one
// source that floods, are R1's business.
func TestOneLoudSourceIsNoSpoofedFlood(t *testing.T) {
	r := flood(150, 80)
	r.Window1s = packets{syn: 1150}.counts()
	r.Victims[0].Packets1s = 1150
	r.Top = append(r.Top, source("203.0.113.9", packets{syn: 1000}, packets{syn: 1000}, 1))
	d := newEngine(t).Rates(r, now)
	if len(d) != 2 || d[0].Rule != "R1" && d[1].Rule != "R1" {
		for _, x := range d {
			if x.Rule == "S1" {
				t.Errorf("a signature for one source: %s", x.Reason)
			}
		}
	}
}

func TestReflection(t *testing.T) {
	r := record()
	r.Victims = []rates.Target{{Destination: netip.MustParseAddr("198.51.100.1"), Class: schemas.ClassUDP, Protocol: 17, Port: 53,
		Packets10s: 200, Packets1s: 200, Sources10s: 40, Sources1s: 40}}
	r.Window10s = packets{udp: 200}.counts()
	r.Sources10s, r.Sources1s = 60, 60
	d := newEngine(t).Rates(r, now)
	if len(d) != 1 || d[0].Rule != "S2" || d[0].Command.Match.String() != "destination=198.51.100.1/32,protocol=udp,source_port=53" {
		t.Errorf("decisions %+v", d)
	}
}

// TestReflectionsCompany: the fragments of large answers and what closed
// amplifiers say come to the same victim.
func TestReflectionsCompany(t *testing.T) {
	dst := netip.MustParseAddr("198.51.100.1")
	target := func(to netip.Addr, c schemas.Class, protocol uint8, port uint16, n uint64) rates.Target {
		return rates.Target{Destination: to, Class: c, Protocol: protocol, Port: port, Packets10s: n, Packets1s: n, Sources10s: 40, Sources1s: 40}
	}
	r := record()
	r.Victims = []rates.Target{
		target(dst, schemas.ClassUDP, 17, 53, 200), target(dst, schemas.ClassFragLater, 17, 0, 100), target(dst, schemas.ClassICMP, 1, 0, 200),
		target(dst.Next(), schemas.ClassFragLater, 17, 0, 5000), target(dst.Next(), schemas.ClassICMP, 1, 0, 5000),
	}
	r.Window10s = packets{udp: 200}.counts()
	r.Sources10s, r.Sources1s = 60, 60
	d := newEngine(t).Rates(r, now)
	want := "S2 destination=198.51.100.1/32,protocol=udp,source_port=53 drop; S2 destination=198.51.100.1/32,protocol=udp,fragments=later drop; " +
		"S2 destination=198.51.100.1/32,protocol=icmp rate-limit 50"
	if got := brief(d); got != want {
		t.Errorf("got %s", got)
	}
	complete(t, d)
	r.Victims[1].Packets10s, r.Victims[2].Packets10s = 99, 199
	if got := brief(newEngine(t).Rates(r, now)); got != "S2 destination=198.51.100.1/32,protocol=udp,source_port=53 drop" {
		t.Errorf("with less company: %s", got)
	}
}

func TestStaleRatesDecideNothing(t *testing.T) {
	loud := source("203.0.113.9", packets{syn: 5000}, packets{syn: 5000}, 1)
	r := record(loud)
	if d := newEngine(t).Rates(r, now.Add(StaleAfter+time.Millisecond)); len(d) != 0 {
		t.Errorf("decided on old rates: %+v", d)
	}
	r.Stale = true
	if d := newEngine(t).Rates(r, now); len(d) != 0 {
		t.Errorf("decided on stale rates: %+v", d)
	}
}

func TestAllowKeepsThePolicyQuiet(t *testing.T) {
	e := newEngine(t)
	allow := commands.Lease{Command: commands.Command{Action: commands.Allow, Issuer: "alice", Match: commands.Match{Source: netip.MustParsePrefix("203.0.113.0/24")}}, ExpiresAt: now.Add(time.Hour)}
	allow.Key = allow.Command.Key()
	e.Command(&allow, now)
	r := record(source("203.0.113.9", packets{syn: 5000}, packets{syn: 5000}, 1))
	if d := e.Rates(r, now); len(d) != 0 {
		t.Errorf("blocked an allowed source: %+v", d)
	}
	e.Released(allow.Key, now)
	if d := e.Rates(r, now); len(d) == 0 {
		t.Error("the allow is gone, and nothing was decided")
	}
}

func TestBudget(t *testing.T) {
	e := newEngine(t)
	var all []rates.Source
	for i := range uint32(400) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0x0b000000+i)
		all = append(all, source(netip.AddrFrom4(b).String(), packets{syn: 200}, packets{}, 1))
	}
	issued, refused := 0, 0
	for _, d := range e.Rates(record(all...), now) {
		switch d.Step {
		case Issue:
			issued++
		case Refuse:
			refused++
		}
	}
	if issued != 256 || refused != 1 {
		t.Errorf("%d leases and %d refusals in one second, want 256 and 1", issued, refused)
	}
}

// drive gives the engine a status record per second with the drops of one lease.
func drive(e *Engine, key string, at time.Time, seconds int, pps uint64, drops *uint64) (out []Decision, end time.Time) {
	for range seconds {
		at = at.Add(time.Second)
		*drops += pps
		s := &status.Record{Host: "h", Interface: "eth0", At: at}
		s.Filter.Drops = []status.LeaseDrops{{Key: key, Packets: *drops}}
		out = append(out, e.Status(s, true, at)...)
	}
	return out, at
}

func steps(all []Decision, s Step) (n int) {
	for _, d := range all {
		if d.Step == s {
			n++
		}
	}
	return n
}

func TestLeaseLivesAsLongAsTheAttack(t *testing.T) {
	e := newEngine(t)
	r := record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1))
	d := e.Rates(r, now)
	if len(d) != 1 {
		t.Fatalf("decisions %+v", d)
	}
	key := d[0].Key
	var drops uint64
	out, at := drive(e, key, now, 200, 500, &drops)
	if n := steps(out, Renew); n < 4 || n > 6 || steps(out, Release) != 0 {
		t.Errorf("%d renewals in 200 s of a lease of 60 s, %d releases", n, steps(out, Release))
	}
	out, at = drive(e, key, at, 60, 0, &drops)
	if steps(out, Release) != 1 || steps(out, Renew) > 1 {
		t.Errorf("after the attack: %+v", out)
	}
	if e.Leases() != 0 {
		t.Error("a released lease is still held")
	}
	// It comes back within ten minutes: the lease is twice as long.
	r.End = at
	d = e.Rates(r, at)
	if len(d) != 1 || d[0].Command.TTL != 2*time.Minute {
		t.Errorf("relapse: %+v", d)
	}
}

// TestLeaseForAHostAddsUpItsInterfaces: the one that drops nothing must neither
// hide nor feign what the other drops.
func TestLeaseForAHostAddsUpItsInterfaces(t *testing.T) {
	e := newEngine(t)
	e.WholeHost = true
	d := e.Rates(record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1)), now)
	if len(d) != 1 || d[0].Command.Target.String() != "host:h" {
		t.Fatalf("decisions %+v", d)
	}
	var drops uint64
	var out []Decision
	for s := 1; s <= 200; s++ {
		at := now.Add(time.Duration(s) * time.Second)
		if s <= 100 {
			drops += 500
		}
		for _, ifname := range []string{"eth0", "eth1"} {
			x := &status.Record{Host: "h", Interface: ifname, At: at}
			x.Filter.Drops = []status.LeaseDrops{{Key: d[0].Key}}
			if ifname == "eth0" {
				x.Filter.Drops[0].Packets = drops
			}
			out = append(out, e.Status(x, true, at)...)
		}
	}
	if r, n := steps(out, Release), steps(out, Renew); r != 1 || n < 2 || n > 4 {
		t.Errorf("%d releases and %d renewals", r, n)
	}
}

func TestUnattendedLeaseLapses(t *testing.T) {
	e := newEngine(t)
	e.Rates(record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1)), now)
	r := record()
	r.End = now.Add(61 * time.Second)
	e.Rates(r, r.End)
	if e.Leases() != 0 {
		t.Error("a lease without any drop counter outlived its time")
	}
}

func TestConnectionFloodIsDroppedAfterTwoRenewals(t *testing.T) {
	e := newEngine(t)
	d := e.Rates(record(source("203.0.113.9", packets{syn: 20, tcp: 40}, packets{syn: 200, tcp: 400}, 9)), now)
	var drops uint64
	out, _ := drive(e, d[0].Key, now, 170, 20, &drops)
	var actions []commands.Action
	for _, x := range out {
		if x.Step == Renew {
			actions = append(actions, x.Command.Action)
		}
	}
	want := []commands.Action{commands.RateLimit, commands.RateLimit, commands.Drop}
	if len(actions) < 3 || actions[0] != want[0] || actions[1] != want[1] || actions[2] != want[2] {
		t.Errorf("renewals %v, want %v first", actions, want)
	}
}

func TestRebuildFromTheCommands(t *testing.T) {
	e := newEngine(t)
	r := record(source("203.0.113.9", packets{syn: 500}, packets{syn: 500}, 1))
	d := e.Rates(r, now)
	f := newEngine(t)
	l := commands.NewLease(d[0].Command, 5, now, now)
	f.Command(&l, now)
	if again := f.Rates(r, now); len(again) != 0 {
		t.Errorf("a restart decides again what stands: %+v", again)
	}
	var drops uint64
	if out, _ := drive(f, d[0].Key, now, 55, 500, &drops); steps(out, Renew) != 1 {
		t.Errorf("a restart does not renew: %+v", out)
	}
	other := newEngine(t)
	other.Command(&l, now)
	s := &status.Record{Host: "h", Interface: "eth0", At: now.Add(50 * time.Second)}
	if out := other.Status(s, false, s.At); len(out) != 0 {
		t.Errorf("an instance decides for an interface that is another's: %+v", out)
	}
}

// TestProtectedSourcesPassSignatures: an allow comes with the signature, stays as
// long as it does, and goes with it.
func TestProtectedSourcesPassSignatures(t *testing.T) {
	e := newEngine(t, netip.MustParsePrefix("192.0.2.53/32"), netip.MustParsePrefix("2001:db8::53/128"))
	d := e.Rates(flood(5000, 443), now)
	if got, want := brief(d), "S1 destination=198.51.100.1/32,protocol=tcp,destination_port=443,tcp_flags=syn+!ack rate-limit 50; S1 192.0.2.53/32 allow"; got != want {
		t.Fatalf("got %s", got)
	}
	if again := e.Rates(flood(5000, 443), now); len(again) != 0 {
		t.Errorf("decided again: %s", brief(again))
	}
	// It comes back from the topic, and is no allow of a person's.
	for i := range d {
		l := commands.NewLease(d[i].Command, int64(i), now, now)
		e.Command(&l, now)
	}
	var drops uint64
	out, at := drive(e, d[0].Key, now, 100, 5000, &drops)
	if n := steps(out, Renew); n < 4 || steps(out, Release) != 0 {
		t.Errorf("%d renewals of two leases in 100 s, %d releases", n, steps(out, Release))
	}
	out, _ = drive(e, d[0].Key, at, 60, 0, &drops)
	if steps(out, Release) != 2 || e.Leases() != 0 {
		t.Errorf("after the attack: %d releases, %d leases left", steps(out, Release), e.Leases())
	}
	if d := newEngine(t, netip.MustParsePrefix("192.0.2.53/32")).Rates(record(source("203.0.113.9", packets{syn: 500}, packets{}, 1)), now); len(d) != 1 {
		t.Errorf("a lease on a source needs no allow: %s", brief(d))
	}
}
