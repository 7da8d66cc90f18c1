package xdp

import (
	"net/netip"
	"testing"
	"time"
)

func source(s string) Match { return Match{Source: netip.MustParsePrefix(s)} }

func reasonsOf(t *testing.T, r *rig, f func()) map[string]uint64 {
	t.Helper()
	before, err := r.Verdicts(0)
	if err != nil {
		t.Fatal(err)
	}
	f()
	after, err := r.Verdicts(0)
	if err != nil {
		t.Fatal(err)
	}
	for k, n := range before {
		if after[k] -= n; after[k] == 0 {
			delete(after, k)
		}
	}
	return after
}

// TestVerdicts holds one packet against small sets of leases.
func TestVerdicts(t *testing.T) {
	syn := synFrom("203.0.113.9")
	dns := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 17, 0).udp(53, 9999, 100)
	later := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 17, 0x2001).bytes(100)
	odd := ethernet(0x0800).ipv4("203.0.113.9", "198.51.100.1", 128+6, 0).bytes(20)
	syn6 := ethernet(0x86dd).ipv6("2001:db8::9", "2001:db8:ffff::1", 6).tcp(1, 80, flagSYN)
	synOnly := func(m Match) Match {
		m.Protocol, m.FlagMask, m.FlagValue = 6, flagSYN|flagACK, flagSYN
		return m
	}
	toVictim := Match{Destination: netip.MustParsePrefix("198.51.100.1/32"), Protocol: 17, SourcePort: 53}
	drop := func(m Match) Entry { return Entry{Match: m, Action: ActionDrop} }
	allow := func(m Match) Entry { return Entry{Match: m, Action: ActionAllow} }
	cases := []struct {
		name    string
		entries []Entry
		f       frame
		want    string
	}{
		{"nothing", nil, syn, "pass"},
		{"exact", []Entry{drop(source("203.0.113.9/32"))}, syn, "drop_source"},
		{"exact other", []Entry{drop(source("203.0.113.8/32"))}, syn, "pass"},
		{"exact v6", []Entry{drop(source("2001:db8::9/128"))}, syn6, "drop_source"},
		{"prefix v6", []Entry{drop(source("2001:db8::/64"))}, syn6, "drop_prefix"},
		{"prefix", []Entry{drop(source("203.0.113.0/24"))}, syn, "drop_prefix"},
		{"syn of a source", []Entry{drop(synOnly(source("203.0.113.9/32")))}, syn, "drop_source"},
		{"syn of a source, udp", []Entry{drop(synOnly(source("203.0.113.9/32")))}, dns, "pass"},
		{"tcp of a source, protocol 134", []Entry{drop(Match{Source: netip.MustParsePrefix("203.0.113.9/32"), Protocol: 6})}, odd, "pass"},
		{"tcp of a prefix, protocol 134", []Entry{drop(Match{Source: netip.MustParsePrefix("203.0.113.0/24"), Protocol: 6})}, odd, "pass"},
		{"udp of a prefix", []Entry{drop(Match{Source: netip.MustParsePrefix("203.0.113.0/25"), Protocol: 17})}, dns, "drop_prefix"},
		{"udp of a source covers later fragments", []Entry{drop(Match{Source: netip.MustParsePrefix("203.0.113.9/32"), Protocol: 17})}, later, "drop_source"},
		{"signature", []Entry{drop(toVictim)}, dns, "drop_signature"},
		{"signature, other protocol", []Entry{drop(toVictim)}, syn, "pass"},
		{"signature, later fragment has no port", []Entry{drop(toVictim)}, later, "pass"},
		{"later fragments of a source", []Entry{drop(Match{Source: netip.MustParsePrefix("203.0.113.9/32"), Fragments: true})}, later, "drop_source"},
		{"later fragments of a source, UDP itself", []Entry{drop(Match{Source: netip.MustParsePrefix("203.0.113.9/32"), Fragments: true})}, dns, "pass"},
		{"later fragments of a prefix", []Entry{drop(Match{Source: netip.MustParsePrefix("203.0.113.0/24"), Fragments: true})}, later, "drop_prefix"},
		{"later fragments to a victim", []Entry{drop(Match{Destination: netip.MustParsePrefix("198.51.100.1/32"), Protocol: 17, Fragments: true})}, later, "drop_signature"},
		{"later fragments to a victim, UDP itself", []Entry{drop(Match{Destination: netip.MustParsePrefix("198.51.100.1/32"), Protocol: 17, Fragments: true})}, dns, "pass"},
		{"later fragments of another protocol", []Entry{drop(Match{Destination: netip.MustParsePrefix("198.51.100.1/32"), Protocol: 6, Fragments: true})}, later, "pass"},
		{"allow of fragments allows nothing else", []Entry{drop(toVictim), allow(Match{Source: netip.MustParsePrefix("203.0.113.9/32"), Fragments: true})}, dns, "drop_signature"},
		{"signature syn", []Entry{drop(synOnly(Match{Destination: netip.MustParsePrefix("198.51.100.0/24"), DestinationPort: 80}))}, syn, "drop_signature"},
		{"signature syn, other port", []Entry{drop(synOnly(Match{Destination: netip.MustParsePrefix("198.51.100.0/24"), DestinationPort: 81}))}, syn, "pass"},
		{"destination", []Entry{drop(Match{Destination: netip.MustParsePrefix("198.51.100.1/32")})}, syn, "drop_signature"},
		{"expired", []Entry{{Match: source("203.0.113.9/32"), Action: ActionDrop, ExpiresAt: 1}}, syn, "pass"},
		{"suspended", []Entry{{Match: source("203.0.113.9/32"), Action: ActionDrop, Suspended: true}}, syn, "pass"},
		{"other interface", []Entry{{Match: source("203.0.113.9/32"), Action: ActionDrop, Interfaces: 2}}, syn, "pass"},
		{"observe", []Entry{{Match: source("203.0.113.9/32"), Action: ActionObserve}}, syn, "pass_observed"},
		{"allow source beats exact", []Entry{drop(source("203.0.113.9/32")), allow(source("203.0.113.0/24"))}, syn, "pass_allow"},
		{"allow source beats prefix", []Entry{drop(source("203.0.113.0/24")), allow(source("203.0.113.9/32"))}, syn, "pass_allow"},
		{"allow source beats signature", []Entry{drop(toVictim), allow(source("203.0.113.9/32"))}, dns, "pass_allow"},
		{"allow destination", []Entry{drop(source("203.0.113.9/32")), allow(Match{Destination: netip.MustParsePrefix("198.51.100.0/24")})}, syn, "pass_allow"},
		{"allow of one service", []Entry{drop(source("203.0.113.9/32")), allow(Match{Destination: netip.MustParsePrefix("198.51.100.1/32"), Protocol: 6, DestinationPort: 80})}, syn, "pass_allow"},
		{"expired allow", []Entry{drop(source("203.0.113.9/32")), {Match: source("203.0.113.0/24"), Action: ActionAllow, ExpiresAt: 1}}, syn, "drop_source"},
		{"drop beats limit", []Entry{{Match: source("203.0.113.9/32"), Action: ActionRateLimit, PPS: 1}, drop(source("203.0.113.0/24"))}, syn, "drop_prefix"},
		{"wider drop beats longer observe", []Entry{{Match: source("203.0.113.0/28"), Action: ActionObserve}, drop(source("203.0.0.0/16"))}, syn, "drop_prefix"},
		{"longer drop inside observe", []Entry{{Match: source("203.0.0.0/16"), Action: ActionObserve}, drop(source("203.0.113.0/28"))}, syn, "drop_prefix"},
	}
	r := newRig(t, Config{})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r.put(c.entries...)
			got := reasonsOf(t, r, func() { r.run(0, c.f, 1) })
			if len(got) != 1 || got[c.want] != 1 {
				t.Errorf("reasons %v, want %s", got, c.want)
			}
			if _, err := r.Sweep(func(Entry) bool { return false }); err != nil {
				t.Fatal(err)
			}
			if got := reasonsOf(t, r, func() { r.run(0, c.f, 1) }); got["pass"] != 1 {
				t.Errorf("after the sweep: reasons %v, want pass", got)
			}
		})
	}
}

func TestModes(t *testing.T) {
	r := newRig(t, Config{})
	m := source("203.0.113.9/32")
	r.put(Entry{Match: m, Action: ActionDrop})
	short := ethernet(0x0800).bytes(3)
	for _, c := range []struct {
		mode       FilterMode
		syn, short uint32
		reason     string
	}{
		{FilterEnforce, xdpDrop, xdpDrop, "drop_source"},
		{FilterObserve, xdpPass, xdpDrop, "would_drop"},
		{FilterOff, xdpPass, xdpPass, "pass_off"},
	} {
		r.SetFilterMode(0, c.mode)
		got := reasonsOf(t, r, func() {
			if v := r.run(0, synFrom("203.0.113.9"), 1); v != c.syn {
				t.Errorf("mode %d: verdict %d, want %d", c.mode, v, c.syn)
			}
		})
		if got[c.reason] != 1 {
			t.Errorf("mode %d: reasons %v, want %s", c.mode, got, c.reason)
		}
		if v := r.run(0, short, 1); v != c.short {
			t.Errorf("mode %d: malformed verdict %d, want %d", c.mode, v, c.short)
		}
	}
	drops, _ := r.Drops(m)
	if drops.Packets != 1 || drops.Would != 1 || drops.Bytes != 54 || drops.WouldBytes != 54 || drops.Last == 0 {
		t.Errorf("drops %+v, want one packet dropped and one that would have been", drops)
	}
	if w := r.drain(); w.Totals.Dropped != 1 || w.Sources.At(0).Dropped != 1 || w.Targets[0].Dropped != 1 {
		t.Errorf("dropped: %+v", w)
	}
}

func TestExpiryEndsADropByItself(t *testing.T) {
	r := newRig(t, Config{})
	r.put(Entry{Match: source("203.0.113.9/32"), Action: ActionDrop, ExpiresAt: BootTime() + 300*time.Millisecond})
	if v := r.run(0, synFrom("203.0.113.9"), 1); v != xdpDrop {
		t.Fatal("a live lease did not drop")
	}
	deadline := time.Now().Add(5 * time.Second)
	for r.run(0, synFrom("203.0.113.9"), 1) == xdpDrop {
		if time.Now().After(deadline) {
			t.Fatal("the lease outlived its expiry")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestRenewalKeepsCounters(t *testing.T) {
	r := newRig(t, Config{})
	e := Entry{Match: source("203.0.113.9/32"), Action: ActionDrop, Offset: 7}
	r.put(e)
	r.run(0, synFrom("203.0.113.9"), 5)
	e.Offset, e.ExpiresAt = 8, BootTime()+time.Hour
	r.put(e)
	if d, _ := r.Drops(e.Match); d.Packets != 5 {
		t.Errorf("a renewal left %d packets of 5", d.Packets)
	}
	e.Action = ActionObserve
	r.put(e)
	if d, _ := r.Drops(e.Match); d.Packets != 0 {
		t.Errorf("another action kept %d packets", d.Packets)
	}
	var seen []Entry
	r.Entries(func(e Entry, _ Drops) bool { seen = append(seen, e); return true })
	e.Interfaces = 1
	if len(seen) != 1 || seen[0] != e {
		t.Errorf("entries %+v, want %+v", seen, e)
	}
}

// TestRateLimit sends faster than each limit for a while and holds what passed
// against the limit, the burst of a quarter second taken off.
func TestRateLimit(t *testing.T) {
	r := newRig(t, Config{})
	for _, pps := range []uint64{10, 1000, 100_000} {
		m := source("203.0.113.9/32")
		if _, err := r.Delete([]Match{m}); err != nil {
			t.Fatal(err)
		}
		r.put(Entry{Match: m, Action: ActionRateLimit, PPS: pps})
		start := BootTime()
		passed := uint64(0)
		var took, starved time.Duration
		for took < 1500*time.Millisecond {
			got := reasonsOf(t, r, func() { r.run(0, synFrom("203.0.113.9"), 20_000) })
			passed += got["pass_observed"]
			step := BootTime() - start - took
			took += step
			starved += max(0, step-100*time.Millisecond) // on a busy machine nothing may be sent for longer than a burst
		}
		most := float64(pps)*took.Seconds() + max(1, float64(pps)/4)
		least := most - float64(pps)*starved.Seconds()
		// A packet more or less is how the interval was cut.
		if n := float64(passed); n > most*1.05+1.5 || n < least*0.95-1.5 {
			t.Errorf("limit %d pps: %d passed in %v, want %.0f to %.0f", pps, passed, took, least, most)
		}
	}
}

func TestFullTableSaysSo(t *testing.T) {
	r := newRig(t, Config{MaxLeases: 8})
	var err error
	for i := byte(0); i < 9 && err == nil; i++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 32)
		err = r.Put([]Entry{{Match: Match{Source: p}, Action: ActionDrop, Interfaces: 1}})
		if n, _ := r.Len(); err == nil && n != int(i)+1 {
			t.Fatalf("%d leases after %d", n, i+1)
		}
	}
	if err == nil {
		t.Fatal("a ninth lease fitted into eight")
	}
	if v := r.run(0, synFrom("192.0.2.3"), 1); v != xdpDrop {
		t.Error("a full table forgot what it had")
	}
}

// TestNarrowerPrefixHidesNoWider: what a trie answers with first may be expired,
// suspended, of another interface or weaker than a wider lease.
func TestNarrowerPrefixHidesNoWider(t *testing.T) {
	frame := synFrom("203.0.113.9")
	wide, narrow := source("203.0.113.0/24"), source("203.0.113.0/28")
	for name, hides := range map[string]Entry{
		"expired":           {Match: narrow, Action: ActionDrop, Interfaces: 1, ExpiresAt: 1},
		"suspended":         {Match: narrow, Action: ActionDrop, Interfaces: 1, Suspended: true},
		"another interface": {Match: narrow, Action: ActionDrop, Interfaces: 2},
		"weaker":            {Match: narrow, Action: ActionObserve, Interfaces: 1},
	} {
		r := newRig(t, Config{})
		r.put(Entry{Match: wide, Action: ActionDrop, Interfaces: 1}, hides)
		if got := reasonOf(t, r, 0, frame); got != "drop_prefix" {
			t.Errorf("%s: %s", name, got)
		}
	}
	r := newRig(t, Config{})
	r.put(Entry{Match: source("203.0.113.9/32"), Action: ActionDrop, Interfaces: 1},
		Entry{Match: wide, Action: ActionAllow, Interfaces: 1},
		Entry{Match: narrow, Action: ActionAllow, Interfaces: 2},
		Entry{Match: source("203.0.113.8/30"), Action: ActionAllow, Interfaces: 1, ExpiresAt: 1})
	if got := reasonOf(t, r, 0, frame); got != "pass_allow" {
		t.Errorf("an allow that is not live hid one that is: %s", got)
	}
}
