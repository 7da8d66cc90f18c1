package engine

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/detect/window"
)

// tick is how often the probe drains.
const tick = 250 * time.Millisecond

// underway is how long it takes from the end of a window until what follows
// from it is in force, a little more than measured over real brokers.
const underway = 100 * time.Millisecond

// player is everything between the wire and the engine, simulated: it counts
// frames as the data plane does, through the aggregator's own window, and drops
// what the leases say.
type player struct {
	t       *testing.T
	e       *Engine
	state   window.State
	seq     uint64
	leases  map[string]*simulated
	talked  map[netip.Addr]bool // seen inside a connection: limits of SYN let them pass
	last    time.Duration       // of the last status
	seed    maphash.Seed
	decided []played
}

type played struct {
	Decision
	at time.Duration
}

// simulated is a lease in force.
type simulated struct {
	commands.Command
	from, until time.Duration
	next        map[netip.Addr]time.Duration // of rate-limit, per destination
	drops       uint64
}

func newPlayer(t *testing.T, e *Engine) *player {
	return &player{t: t, e: e, leases: map[string]*simulated{}, talked: map[netip.Addr]bool{}, seed: maphash.MakeSeed()}
}

func (s *simulated) matches(f *frame) bool {
	m := &s.Match
	return (!m.Source.IsValid() || m.Source.Contains(f.source)) && (!m.Destination.IsValid() || m.Destination.Contains(f.victim)) &&
		(m.Protocol == 0 || m.Protocol == f.protocol) && (m.SourcePort == 0 || m.SourcePort == f.sport) &&
		(m.DestinationPort == 0 || m.DestinationPort == f.dport) &&
		(!m.Fragments || f.class == schemas.ClassFragLater) &&
		(m.TCPFlags.Mask == 0 || f.protocol == 6 && f.firstOfTransport && f.flags&m.TCPFlags.Mask == m.TCPFlags.Value)
}

// takes reports whether the lease drops a frame that it matches: a limit has a
// bucket of a quarter second.
func (s *simulated) takes(f *frame, at time.Duration) bool {
	if s.Action != commands.RateLimit {
		return s.Action == commands.Drop
	}
	cost := time.Second / time.Duration(s.Rate.PPS)
	next := max(s.next[f.victim], at-max(cost, time.Second/4)+cost)
	if next > at {
		return true
	}
	s.next[f.victim] = next + cost
	return false
}

// filter reports whether a frame is dropped.
func (p *player) filter(f *frame, at time.Duration) bool {
	var best *simulated
	for _, l := range p.leases {
		if at >= l.from && at < l.until && l.matches(f) && (best == nil || l.Action.Strength() > best.Action.Strength()) {
			best = l
		}
	}
	if best != nil && best.Action == commands.Allow || best == nil || f.class == schemas.ClassSYN && !best.Match.Source.IsValid() && p.talked[f.source] || !best.takes(f, at) {
		return false
	}
	best.drops++
	return true
}

// run plays frames in windows, of which the first ends phase after the start,
// and on until the end. dropped is told of each frame that the leases took.
func (p *player) run(frames []frame, phase, until time.Duration, dropped func(*frame)) {
	idle := time.Duration(0)
	for i, end := 0, phase; i < len(frames) || end < until; end += tick {
		b := newBatch(p.seed)
		for ; i < len(frames) && frames[i].at < end; i++ {
			f := &frames[i]
			gone := p.filter(f, f.at)
			if gone && dropped != nil {
				dropped(f)
			}
			if !gone && f.class == schemas.ClassTCPOther {
				p.talked[f.source] = true
			}
			b.add(f, gone)
		}
		if b.totals.Packets > 0 {
			idle = 0
		} else if idle += tick; idle > 70*time.Second && i < len(frames) {
			// Nothing remembers what was before: no need to play the whole night.
			end = max(end, (frames[i].at-phase)/tick*tick+phase)
			continue
		}
		p.window(b, end)
	}
}

func (p *player) window(b *batch, end time.Duration) {
	p.seq++
	at := now.Add(end)
	r := &counts.Record{Host: "h", Interface: "eth0", BootID: "b", Seq: p.seq, WindowStart: at.Add(-tick), WindowEnd: at, Duration: tick, Chunks: 1}
	b.fill(r)
	if p.state.Apply(r) != window.Updated {
		p.t.Fatalf("window %d was not taken", p.seq)
	}
	p.take(p.e.Rates(p.state.Record(), at), end)
	if end-p.last < time.Second {
		return
	}
	p.last = end
	s := &status.Record{Host: "h", Interface: "eth0", At: at}
	for key, l := range p.leases {
		if end < l.until {
			s.Filter.Drops = append(s.Filter.Drops, status.LeaseDrops{Key: key, Packets: l.drops})
		}
	}
	p.take(p.e.Status(s, true, at), end)
}

func (p *player) take(all []Decision, end time.Duration) {
	for _, d := range all {
		p.decided = append(p.decided, played{d, end})
		switch d.Step {
		case Issue, Renew:
			l := p.leases[d.Key]
			if l == nil || end >= l.until {
				l = &simulated{from: end + underway, next: map[netip.Addr]time.Duration{}}
				p.leases[d.Key] = l
			}
			l.Command, l.until = d.Command, end+underway+d.Command.TTL
		case Release:
			delete(p.leases, d.Key)
		}
	}
}

// batch is one window as the data plane counts it.
type batch struct {
	seed             maphash.Seed
	totals           counts.Totals
	sources          map[netip.Addr]*counts.Source
	targets          map[counts.Target]*counts.Target
	all, syn, synack []byte
}

func newBatch(seed maphash.Seed) *batch {
	return &batch{seed: seed, sources: map[netip.Addr]*counts.Source{}, targets: map[counts.Target]*counts.Target{}}
}

func (b *batch) add(f *frame, dropped bool) {
	one := counts.Counters{Packets: 1, Bytes: f.length}
	one.ByClass[f.class] = 1
	if f.class == schemas.ClassUDP {
		one.UDPBytes = f.length
	}
	if dropped {
		one.Dropped = 1
	}
	b.totals.Add(one)
	s := b.sources[f.source]
	if s == nil {
		s = &counts.Source{Address: f.source}
		b.sources[f.source] = s
	}
	s.Add(one)
	if f.firstOfTransport {
		s.PortPairs |= 1 << (maphash.Comparable(b.seed, [2]uint16{f.sport, f.dport}) & 63)
	}
	h := maphash.Comparable(b.seed, f.source)
	sketch(&b.all, h)
	k := counts.Target{Destination: f.victim, Class: f.class, Protocol: f.protocol}
	switch f.class {
	case schemas.ClassSYN:
		k.Port = f.dport
		sketch(&b.syn, h)
	case schemas.ClassSYNACK:
		k.Port = f.sport
		sketch(&b.synack, h)
	case schemas.ClassUDP:
		k.Port = f.sport
	}
	t := b.targets[k]
	if t == nil {
		t = &counts.Target{Destination: k.Destination, Class: k.Class, Protocol: k.Protocol, Port: k.Port}
		b.targets[k] = t
	}
	t.Packets++
	t.Bytes += f.length
	t.Dropped += one.Dropped
	t.SourceBits |= 1 << (h >> 20 & 63)
}

// sketch counts a hash in HyperLogLog registers.
func sketch(registers *[]byte, h uint64) {
	if *registers == nil {
		*registers = make([]byte, 1<<10)
	}
	r := &(*registers)[h&1023]
	*r = max(*r, uint8(bits.TrailingZeros64(h>>10|1<<53)+1))
}

func (b *batch) fill(r *counts.Record) {
	b.totals.SourcesSketch, b.totals.SYNSourcesSketch, b.totals.SYNACKSourcesSketch = b.all, b.syn, b.synack
	for _, t := range b.targets {
		b.totals.Victims = append(b.totals.Victims, *t)
	}
	slices.SortFunc(b.totals.Victims, func(x, y counts.Target) int {
		return cmp.Or(cmp.Compare(y.Packets, x.Packets), x.Destination.Compare(y.Destination), cmp.Compare(x.Class, y.Class), cmp.Compare(x.Port, y.Port))
	})
	for _, s := range b.sources {
		r.Sources = append(r.Sources, *s)
	}
	slices.SortFunc(r.Sources, func(x, y counts.Source) int {
		return cmp.Or(cmp.Compare(y.Packets, x.Packets), x.Address.Compare(y.Address))
	})
	r.Totals = &b.totals
}
