package scenario

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weir-net/weir/loadtest/crew"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas/commands"
)

// Attack is one flood and what is known of its sources.
type Attack struct {
	Name    string
	Sources netip.Prefix // of the attackers; invalid: spoofed
	start   func(crew.Crew) (*crew.Flood, error)
}

// Rates of the floods: what two cores can make besides running everything.
const (
	httpConnections = 2000   // per second
	udpPPS          = 20_000 // from four sources
	synPPS          = 20_000
	synSources      = 200_000
	attackers       = 4
)

// HTTP is a flood of new connections with random URLs from four addresses,
// other ones for each round.
func HTTP(round int, port uint16) Attack {
	sources := nth(lab.HTTPRounds, round)
	return Attack{Name: "HTTP flood", Sources: lab.HTTPRounds, start: func(c crew.Crew) (*crew.Flood, error) {
		return c.HTTP(traffic.HTTPFlood{Server: Server(port), Sources: sources, Workers: 64, Rate: httpConnections})
	}}
}

// UDP is a flood of small datagrams from four addresses, other ones for each
// round.
func UDP(round int) Attack {
	sources := nth(lab.UDPRounds, round)
	return Attack{Name: "UDP flood", Sources: lab.UDPRounds, start: func(c crew.Crew) (*crew.Flood, error) {
		return c.Raw(traffic.RawFlood{
			Destination: lab.VictimAddress, Port: 9, Sources: sources, UDP: true, Payload: 32, PPS: udpPPS, Seed: uint64(round + 1),
		}, 0)
	}}
}

// SYN is a flood of SYN from made-up sources all over IPv4.
func SYN(round int, port uint16) Attack {
	return Attack{Name: "SYN flood", start: func(c crew.Crew) (*crew.Flood, error) {
		return c.Raw(traffic.RawFlood{Destination: lab.VictimAddress, Port: port, PPS: synPPS, Seed: uint64(round + 1)}, synSources)
	}}
}

// nth returns the attackers of a round: the first addresses of the round's /24.
func nth(p netip.Prefix, round int) []netip.Addr {
	b := p.Addr().As4()
	b[2] += byte(round)
	return traffic.SourcesOf(netip.PrefixFrom(netip.AddrFrom4(b), 24), attackers)
}

// Outcome is what became of an attack.
type Outcome struct {
	Name       string
	First      time.Duration // boot time of the first attack packet
	FirstDrop  time.Duration // boot time at which XDP was seen to have dropped; 0: never
	Last       time.Duration // boot time of the last attack packet
	Sent       uint64        // attack packets
	Dropped    uint64        // by XDP, of all packets, while it lasted
	LateSent   uint64        // in its last two seconds
	LatePassed uint64
	EarlyPPS   float64 // packets per second before the first drop, for HTTP at least
	PerSource  int     // leases on single sources
	Signatures int     // leases on destinations
	Stages     Stages
	Decision   *watch.Decision // the first one
}

// TimeToMitigate is from the first attack packet to the first drop.
func (o Outcome) TimeToMitigate() time.Duration {
	if o.FirstDrop == 0 {
		return 0
	}
	return o.FirstDrop - o.First
}

// Passed is what got through.
func (o Outcome) Passed() uint64 { return o.Sent - min(o.Sent, o.Dropped) }

// Mitigated reports whether the attack was dropped, and went on being dropped
// to its end: what passed in its last two seconds is at most a tenth of what
// it sent then, or of what it sent in as much time before the first drop.
func (o Outcome) Mitigated() bool {
	if o.FirstDrop == 0 {
		return false
	}
	return float64(o.LatePassed) <= 0.1*max(float64(o.LateSent), o.EarlyPPS*lateSpan.Seconds())
}

const lateSpan = 2 * time.Second

// Progress is a moment of an attack.
type Progress struct {
	Elapsed        time.Duration
	Sent, Dropped  uint64
	TimeToMitigate time.Duration // 0: not yet
}

// Run carries the attack out for so long, calling progress now and then.
func (s *Scenario) Run(ctx context.Context, a Attack, duration time.Duration, progress func(Progress)) (Outcome, error) {
	out := Outcome{Name: a.Name}
	base, err := s.Drops.Drops()
	if err != nil {
		return out, err
	}
	counted := s.countedOf(a)
	known := s.Decisions.Len()
	flood, err := a.start(s.Crew)
	if err != nil {
		return out, err
	}
	m := &meter{s: s, base: base}
	if err := m.follow(ctx, a, flood, duration, counted, progress); err != nil {
		_, stopErr := flood.Stop()
		return out, errors.Join(err, stopErr)
	}
	last, err := flood.Stop()
	if err != nil {
		return out, err
	}
	if err := s.Quiet(ctx); err != nil {
		return out, err
	}
	drops, err := s.Drops.Drops()
	if err != nil {
		return out, err
	}
	out.First, out.Last, out.FirstDrop = last.First, last.Last, m.firstDrop
	out.Dropped, out.EarlyPPS = drops-base, m.earlyPPS
	out.Sent = s.sentBy(a, last, counted)
	out.LateSent = out.Sent - min(out.Sent, m.lateSent)
	out.LatePassed = out.LateSent - min(out.LateSent, out.Dropped-m.lateDropped)
	s.attribute(&out, known)
	return out, nil
}

// countedOf is what the counts topic says of the attack's sources so far.
func (s *Scenario) countedOf(a Attack) uint64 {
	if !a.Sources.IsValid() {
		return 0
	}
	return s.Counts.Sums().Of(a.Sources).Packets
}

// sentBy is how many packets the attack has sent: what a raw flood counted, or
// what arrived of one that the kernel's TCP makes.
func (s *Scenario) sentBy(a Attack, r traffic.FloodReport, counted uint64) uint64 {
	if r.Packets > 0 {
		return r.Packets
	}
	return s.countedOf(a) - counted
}

// meter follows an attack.
type meter struct {
	s                     *Scenario
	base                  uint64
	firstDrop             time.Duration
	lateSent, lateDropped uint64
	late                  bool
	earlyPPS              float64
}

// packetsPerRequest is the least that a client sends for a connection with one
// request: SYN, ACK, the request, RST.
const packetsPerRequest = 4

// early takes the attack's own rate from its reports until the first drop.
func (m *meter) early(r traffic.FloodReport) {
	span := (r.At - r.First).Seconds()
	if r.First == 0 || span <= 0 || m.firstDrop > 0 && m.earlyPPS > 0 {
		return
	}
	m.earlyPPS = float64(r.Packets+packetsPerRequest*r.Requests) / span
}

func (m *meter) follow(ctx context.Context, a Attack, f *crew.Flood, duration time.Duration, counted uint64, progress func(Progress)) error {
	start := time.Now()
	reported := time.Time{}
	for time.Since(start) < duration {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		drops, err := m.s.Drops.Drops()
		if err != nil {
			return err
		}
		if drops > m.base && m.firstDrop == 0 {
			m.firstDrop = traffic.BootTime()
		}
		m.early(f.Last())
		if !m.late && time.Since(start) > duration-lateSpan {
			m.late, m.lateDropped, m.lateSent = true, drops-m.base, m.s.sentBy(a, f.Last(), counted)
		}
		if time.Since(reported) > 100*time.Millisecond {
			reported = time.Now()
			report := f.Last()
			p := Progress{Elapsed: time.Since(start), Sent: m.s.sentBy(a, report, counted), Dropped: drops - m.base}
			if m.firstDrop > 0 && report.First > 0 {
				p.TimeToMitigate = m.firstDrop - report.First
			}
			progress(p)
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

// Quiet waits until XDP drops nothing any more and the counts have caught up.
func (s *Scenario) Quiet(ctx context.Context) error {
	const still = 600 * time.Millisecond // two windows and some
	last, since := uint64(0), time.Now()
	for deadline := time.Now().Add(5 * time.Second); time.Since(since) < still; {
		drops, err := s.Drops.Drops()
		if err != nil {
			return err
		}
		if drops != last {
			last, since = drops, time.Now()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("packets are still being dropped 5 s after the attack ended")
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// attribute finds the decisions that belong to the attack.
func (s *Scenario) attribute(out *Outcome, known int) {
	perSource, signatures := make(map[string]bool), make(map[string]bool)
	for _, d := range s.Decisions.All()[known:] {
		if d.Released || d.Err != nil || d.Command.Action == commands.SetMode {
			continue
		}
		if out.Decision == nil {
			out.Decision = &d
		}
		switch {
		case d.PerSource():
			perSource[string(d.Key)] = true
		case d.Signature():
			signatures[string(d.Key)] = true
		}
	}
	out.PerSource, out.Signatures = len(perSource), len(signatures)
	if out.Decision != nil && out.FirstDrop > 0 {
		out.Stages = s.stages(*out.Decision, out.First, out.FirstDrop)
	}
}
