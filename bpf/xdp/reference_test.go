package xdp

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// packetModel is what a lease can ask of a packet, and the frame that has it.
type packetModel struct {
	frame         frame
	source        netip.Addr
	destination   netip.Addr
	protocol      uint8
	sport, dport  uint16
	flags         uint8
	laterFragment bool
}

// covers says by the rules of the contract whether a lease is about a packet.
func (p *packetModel) covers(m Match) bool {
	switch {
	case m.Source.IsValid() && !m.Source.Contains(p.source),
		m.Destination.IsValid() && !m.Destination.Contains(p.destination),
		m.Protocol != 0 && m.Protocol != p.protocol,
		m.SourcePort != 0 && m.SourcePort != p.sport,
		m.DestinationPort != 0 && m.DestinationPort != p.dport,
		m.FlagMask != 0 && (p.protocol != 6 || p.laterFragment || p.flags&m.FlagMask != m.FlagValue):
		return false
	}
	return true
}

// effective is the union of the live leases, allow first, then the strongest.
func effective(leases map[Match]Entry, p *packetModel, s Slot, now time.Duration) (strongest Action, allowed bool) {
	for m, e := range leases {
		if e.Suspended || e.Interfaces&(1<<s) == 0 || (e.ExpiresAt != 0 && e.ExpiresAt <= now) || !p.covers(m) {
			continue
		}
		if e.Action == ActionAllow {
			allowed = true
			continue
		}
		strongest = max(strongest, e.Action)
	}
	return strongest, allowed
}

func acceptable(strongest Action, allowed bool) []string {
	switch {
	case strongest == 0 && allowed: // the allowlist is asked only before something else decides
		return []string{"pass", "pass_allow"}
	case allowed:
		return []string{"pass_allow"}
	case strongest == ActionDrop:
		return []string{"drop_source", "drop_prefix", "drop_signature"}
	case strongest != 0: // limits here are too high to be reached
		return []string{"pass_observed"}
	}
	return []string{"pass"}
}

type generator struct {
	*rand.Rand
	v6 bool
}

func (g *generator) address() netip.Addr {
	if g.v6 {
		b := netip.MustParseAddr("2001:db8::").As16()
		b[7], b[15] = byte(g.IntN(2)), byte(g.IntN(8))
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, byte(g.IntN(8))})
}

func (g *generator) prefix() netip.Prefix {
	lengths := []int{16, 24, 28, 29, 30, 31, 32, 32}
	if g.v6 {
		lengths = []int{32, 48, 63, 64, 124, 125, 126, 128, 128}
	}
	return netip.PrefixFrom(g.address(), lengths[g.IntN(len(lengths))]).Masked()
}

func (g *generator) packet() *packetModel {
	p := &packetModel{source: g.address(), destination: g.address(), protocol: 6}
	p.sport, p.dport = uint16(1+g.IntN(2)), uint16(80+g.IntN(2))
	next := func(protocol byte, fragment uint16) frame {
		if !g.v6 {
			return ethernet(0x0800).ipv4(p.source.String(), p.destination.String(), protocol, fragment)
		}
		if fragment == 0 {
			return ethernet(0x86dd).ipv6(p.source.String(), p.destination.String(), protocol)
		}
		return ethernet(0x86dd).ipv6(p.source.String(), p.destination.String(), 44).fragment(protocol, fragment)
	}
	switch g.IntN(5) {
	case 0:
		p.flags = []byte{0x02, 0x12, 0x10, 0x04, 0xc2}[g.IntN(5)]
		p.frame = next(6, 0).tcp(p.sport, p.dport, p.flags)
	case 1, 2:
		p.flags = 0x02
		p.frame = next(6, 0).tcp(p.sport, p.dport, p.flags)
	case 3:
		p.protocol = 17
		p.frame = next(17, 0).udp(p.sport, p.dport, 10)
	case 4:
		p.protocol = []byte{6, 17}[g.IntN(2)]
		p.frame = next(p.protocol, 7).bytes(30)
		p.sport, p.dport, p.laterFragment = 0, 0, true
	}
	return p
}

func (g *generator) entry() Entry {
	e := Entry{Action: []Action{ActionObserve, ActionRateLimit, ActionDrop, ActionDrop, ActionAllow}[g.IntN(5)]}
	e.Interfaces = []uint64{1, 2, 3, ^uint64(0)}[g.IntN(4)]
	e.ExpiresAt = []time.Duration{0, 0, 1, BootTime() + time.Hour}[g.IntN(4)]
	e.Suspended = g.IntN(5) == 0
	if e.Action == ActionRateLimit {
		e.PPS = 1e9
	}
	m := &e.Match
	switch g.IntN(4) {
	case 0, 1:
		m.Source = g.prefix()
	case 2:
		m.Destination = g.prefix()
	case 3:
		m.Source, m.Destination = g.prefix(), g.prefix()
	}
	switch g.IntN(6) {
	case 0:
		m.Protocol, m.FlagMask, m.FlagValue = 6, flagSYN|flagACK, flagSYN
	case 1:
		m.Protocol = []uint8{6, 17}[g.IntN(2)]
	case 2:
		m.Protocol, m.DestinationPort = 6, uint16(80+g.IntN(2))
	}
	return e
}

// TestFilterEqualsReference puts, replaces and deletes random leases, nested,
// expired, suspended and on some interfaces only, and holds each packet's
// reason against a model that looks at every lease for every packet.
func TestFilterEqualsReference(t *testing.T) {
	r := newRig(t, Config{})
	r.use(1, FilterEnforce)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 150 {
		g := &generator{rng, round%3 == 2}
		model := map[Match]Entry{}
		var history []string
		for range 6 {
			var batch []Entry
			for range 1 + g.IntN(4) {
				e := g.entry()
				model[e.Match] = e
				batch = append(batch, e)
				history = append(history, fmt.Sprintf("put %+v", e))
			}
			r.put(batch...)
			for m := range model {
				if g.IntN(8) == 0 {
					delete(model, m)
					history = append(history, fmt.Sprintf("delete %+v", m))
					if n, err := r.Delete([]Match{m}); n != 1 || err != nil {
						t.Fatalf("deleted %d: %v", n, err)
					}
				}
			}
			for range 8 {
				p, s := g.packet(), Slot(g.IntN(2))
				strongest, allowed := effective(model, p, s, BootTime())
				want := acceptable(strongest, allowed)
				got := reasonOf(t, r, s, p.frame)
				if !slices.Contains(want, got) {
					t.Fatalf("round %d, slot %d: packet %+v is %s, want one of %v, after\n%s", round, s, p, got, want, join(history))
				}
			}
		}
		if _, err := r.Sweep(func(Entry) bool { return false }); err != nil {
			t.Fatal(err)
		}
	}
}

func join(lines []string) (s string) {
	for _, l := range lines {
		s += l + "\n"
	}
	return s
}

// reasonOf returns the one reason under which a frame was counted.
func reasonOf(t testing.TB, r *rig, s Slot, f frame) string {
	t.Helper()
	before, err := r.Verdicts(s)
	if err != nil {
		t.Fatal(err)
	}
	r.run(s, f, 1)
	after, err := r.Verdicts(s)
	if err != nil {
		t.Fatal(err)
	}
	var reason string
	for name, n := range after {
		if n == before[name] {
			continue
		}
		if n != before[name]+1 || reason != "" {
			t.Fatalf("one packet made %v of %v", after, before)
		}
		reason = name
	}
	return reason
}
