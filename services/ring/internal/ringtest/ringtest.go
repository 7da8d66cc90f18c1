// Package ringtest plays the rest of Weir for tests: it writes what aggregator,
// probes and policy would write, onto a broker in the test's process. What the
// page does with the real ones is another test.
package ringtest

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/internal/kit/kafka"
)

// Interface is one interface of the play. Change it under Play.Do.
type Interface struct {
	Host, Name string
	Mode       string
	Sources    []Source
	Stale      bool
	Silent     bool // publishes nothing at all
	Lost       uint64

	seq uint64
}

// Source is one source and what it sends.
type Source struct {
	Addr  netip.Addr
	PPS   float64
	Class schemas.Class
}

// Play writes the records of a fleet four times a second.
type Play struct {
	Topics schemas.Topics
	client *kgo.Client
	opts   []kgo.Opt

	mu         sync.Mutex
	interfaces []*Interface
	leases     map[string]commands.Lease
	applied    int64
	drops      map[string]uint64
}

// New returns a play on the brokers of cfg.
func New(t testing.TB, cfg *kafka.Config) *Play {
	t.Helper()
	opts, err := cfg.Options("play")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(opts, kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(100_000),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &Play{Topics: cfg.Topics(), client: client, opts: opts, leases: make(map[string]commands.Lease), applied: -1, drops: make(map[string]uint64)}
}

// Do runs fn while nothing is published.
func (p *Play) Do(fn func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn()
}

// Add adds an interface.
func (p *Play) Add(host, name string, sources ...Source) *Interface {
	i := &Interface{Host: host, Name: name, Mode: "enforce", Sources: sources}
	p.Do(func() { p.interfaces = append(p.interfaces, i) })
	return i
}

// Run publishes until ctx ends, and applies commands as probes do.
func (p *Play) Run(ctx context.Context, tick time.Duration) {
	go p.follow(ctx)
	t := time.NewTicker(tick)
	defer t.Stop()
	for n := 0; ; n++ {
		p.Publish(ctx, n%4 == 0)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// follow reads the commands topic.
func (p *Play) follow(ctx context.Context) {
	client, err := kgo.NewClient(append(append([]kgo.Opt{}, p.opts...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{p.Topics.Commands: {0: kgo.NewOffset().AtStart()}}))...)
	if err != nil {
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		p.Do(func() {
			fetches.EachRecord(func(r *kgo.Record) {
				p.applied = r.Offset
				if commands.IsTombstone(r.Value) {
					delete(p.leases, string(r.Key))
				} else if c, err := commands.Decode(r.Key, r.Value); err == nil {
					l := commands.NewLease(c, r.Offset, r.Timestamp, time.Now())
					p.leases[l.Key] = l
				}
			})
			if fetches.NumRecords() > 0 {
				p.publishStatus(ctx) // at once, as a probe does
			}
		})
	}
}

// Publish writes one record of rates for each interface, and of status too.
func (p *Play) Publish(ctx context.Context, withStatus bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range p.interfaces {
		if i.Silent {
			continue
		}
		if !i.Stale {
			i.seq++
		}
		r := p.rates(i)
		value, err := rates.Encode(r)
		if err != nil {
			panic(err) // the play's own mistake
		}
		p.client.Produce(ctx, kafka.Record(p.Topics.Rates, schemas.SchemaRates, []byte(r.Key()), value), nil)
	}
	if withStatus {
		p.publishStatus(ctx)
	}
}

func (p *Play) publishStatus(ctx context.Context) {
	for _, i := range p.interfaces {
		if i.Silent {
			continue
		}
		s := status.Record{
			Host: i.Host, Interface: i.Name, Ifindex: 2, Direction: "ingress", BootID: "b", At: time.Now(), Mode: i.Mode, XDPMode: "native",
			Components: map[string]status.Component{status.ComponentFilter: {AppliedOffset: p.applied, Ready: true}},
			Filter:     status.Filter{Capacity: 65536, Verdicts: map[string]uint64{}}, Seq: i.seq, BrokerReachable: true, Version: "test",
		}
		for key, l := range p.leases {
			if l.Target.Matches(i.Host, i.Name) && l.Live(time.Now()) {
				s.Filter.Leases++
				if n := p.drops[i.Host+"/"+i.Name+" "+key]; n > 0 {
					s.Filter.Drops = append(s.Filter.Drops, status.LeaseDrops{Key: key, Offset: l.Offset, Packets: n, Bytes: 60 * n, LastAt: time.Now()})
				}
			}
		}
		value, err := status.Encode(s)
		if err != nil {
			panic(err) // the play's own mistake
		}
		p.client.Produce(ctx, kafka.Record(p.Topics.Status, schemas.SchemaStatus, []byte(s.Key()), value), nil)
	}
}

// drop returns the lease that drops packets from a at i, if any.
func (p *Play) drop(i *Interface, a netip.Addr) *commands.Lease {
	var best *commands.Lease
	for _, l := range p.leases {
		if l.Target.Matches(i.Host, i.Name) && l.Match.Source.IsValid() && l.Match.Source.Contains(a) && l.Live(time.Now()) && (best == nil || l.Beats(best)) {
			best = &l
		}
	}
	if best == nil || best.Action != commands.Drop || i.Mode != "enforce" {
		return nil
	}
	return best
}

func (p *Play) rates(i *Interface) rates.Record {
	now := time.Now()
	r := rates.Record{
		Host: i.Host, Interface: i.Name, BootID: "b", Seq: i.seq, Start: now.Add(-time.Second), End: now,
		Covered: 10 * time.Second, Complete: true, Stale: i.Stale, LostWindows: i.Lost, Sources1s: uint64(len(i.Sources)), Sources10s: uint64(len(i.Sources)),
	}
	ports := make(map[uint16]*rates.Target)
	for _, s := range i.Sources {
		n := uint64(s.PPS)
		c := rates.Counts{Packets: n, Bytes: 60 * n}
		c.ByClass[s.Class] = n
		if l := p.drop(i, s.Addr); l != nil {
			c.Dropped = n
			p.drops[i.Host+"/"+i.Name+" "+l.Key] += n / 4
		}
		add(&r.Window1s, c)
		r.PPS += s.PPS
		r.BPS += 480 * s.PPS
		r.DroppedPPS += float64(c.Dropped)
		ten := c
		ten.Packets, ten.Bytes, ten.Dropped = 10*c.Packets, 10*c.Bytes, 10*c.Dropped
		ten.ByClass[s.Class] *= 10
		add(&r.Window10s, ten)
		if len(r.Top) < 50 {
			r.Top = append(r.Top, rates.Source{Source: s.Addr, PPS: s.PPS, BPS: 480 * s.PPS, Window1s: c, Window10s: ten})
		}
		if port, protocol := portOf(s.Class); port != 0 {
			if ports[port] == nil {
				ports[port] = &rates.Target{Class: s.Class, Protocol: protocol, Port: port}
			}
			ports[port].Packets1s += n
			ports[port].Packets10s += 10 * n
			ports[port].Bytes1s += 60 * n
			ports[port].Dropped1s += c.Dropped
			ports[port].Sources1s++
		}
	}
	for _, t := range ports {
		r.Ports = append(r.Ports, *t)
		t.Destination = Victim
		r.Victims = append(r.Victims, *t)
	}
	return r
}

// Victim is where packets with a port go, on every interface.
var Victim = netip.MustParseAddr("192.0.2.80")

func portOf(c schemas.Class) (uint16, uint8) {
	switch c {
	case schemas.ClassSYN:
		return 443, 6
	case schemas.ClassUDP:
		return 53, 17
	}
	return 0, 0
}

func add(sum *rates.Counts, c rates.Counts) {
	sum.Packets += c.Packets
	sum.Bytes += c.Bytes
	sum.Dropped += c.Dropped
	for k := range sum.ByClass {
		sum.ByClass[k] += c.ByClass[k]
	}
}

// Command writes a command and returns its offset.
func (p *Play) Command(t testing.TB, c commands.Command) int64 {
	t.Helper()
	key, value, err := commands.Encode(c)
	if err != nil {
		t.Fatal(err)
	}
	return p.write(t, kafka.Record(p.Topics.Commands, schemas.SchemaCommands, key, value))
}

// Attack writes an attack.
func (p *Play) Attack(t testing.TB, r attacks.Record) {
	t.Helper()
	r.UpdatedAt = time.Now()
	key, value, err := attacks.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, kafka.Record(p.Topics.Attacks, schemas.SchemaAttacks, key, value))
}

// Event writes an event.
func (p *Play) Event(t testing.TB, e events.Record) {
	t.Helper()
	e.At = time.Now()
	value, err := events.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	p.write(t, kafka.Record(p.Topics.Events, schemas.SchemaEvents, []byte(e.RecordKey()), value))
}

func (p *Play) write(t testing.TB, r *kgo.Record) int64 {
	t.Helper()
	if err := p.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return r.Offset
}

// Fleet adds hosts × interfaces with ordinary traffic of the given number of
// sources each.
func (p *Play) Fleet(hosts, interfaces, sources int) {
	classes := []schemas.Class{schemas.ClassTCPOther, schemas.ClassTCPOther, schemas.ClassUDP, schemas.ClassSYN, schemas.ClassICMP}
	for h := range hosts {
		for n := range interfaces {
			list := make([]Source, 0, sources)
			for s := range sources {
				a := netip.AddrFrom4([4]byte{198, 18 + byte(n%2), byte(h), byte(s + 1)})
				list = append(list, Source{Addr: a, PPS: float64(1 + (7*h+13*n+29*s)%60), Class: classes[s%len(classes)]})
			}
			p.Add(fmt.Sprintf("edge-%d", h+1), fmt.Sprintf("eth%d", n), list...)
		}
	}
}
