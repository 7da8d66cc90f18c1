package scale

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
)

// fleet writes what the probes of many interfaces would.
type fleet struct {
	client  *kgo.Client
	topic   string
	records []counts.Record // one per interface, the next to be written
}

const sketchRegisters = 1 << 10

func newFleet(s *stack.Stack, interfaces, sources int) (*fleet, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(100_000),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	if err != nil {
		return nil, fmt.Errorf("connecting the fleet: %w", err)
	}
	f := &fleet{client: client, topic: s.Topics.Counts}
	for i := range interfaces {
		f.records = append(f.records, quiet(i, sources))
	}
	return f, nil
}

// quiet is a window of an interface on which so many sources converse: a few
// packets each, a connection now and then, some DNS.
func quiet(number, sources int) counts.Record {
	r := counts.Record{
		Host: fmt.Sprintf("host-%d", number/2), Interface: fmt.Sprintf("eth%d", number%2), BootID: "scale", Chunks: 1,
		Duration: window, IPv6SourcePrefixLength: 64,
		Totals: &counts.Totals{SourcesSketch: make([]byte, sketchRegisters), SYNSourcesSketch: make([]byte, sketchRegisters)},
	}
	for i := range sources {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], 0xc6120000+uint32(number*7+i)%65536)
		s := counts.Source{Address: netip.AddrFrom4(b), PortPairs: 5}
		n := uint64(3 + i%9)
		s.Packets, s.Bytes, s.UDPBytes = n+2, 700*n, 90
		s.ByClass[schemas.ClassTCPOther], s.ByClass[schemas.ClassSYN], s.ByClass[schemas.ClassUDP] = n, 1, 1
		r.Sources = append(r.Sources, s)
		r.Totals.Counters.Add(s.Counters)
		r.Totals.SourcesSketch[(number+i*31)%sketchRegisters] = byte(1 + i%5)
		r.Totals.SYNSourcesSketch[(number+i*31)%sketchRegisters] = byte(1 + i%5)
	}
	for i := range 3 {
		t := counts.Target{Class: schemas.ClassSYN, Protocol: 6, Port: uint16(80 + i), Packets: 3, Bytes: 180, SourceBits: 5}
		r.Totals.Ports = append(r.Totals.Ports, t)
		t.Destination = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		r.Totals.Victims = append(r.Totals.Victims, t)
	}
	return r
}

// slices are in how many parts a window is written: real probes are not in step.
const slices = 25

// run writes until ctx ends. It does not catch up when it is late: a broker that
// is too slow then shows as fewer windows written.
func (f *fleet) run(ctx context.Context) error {
	failed := make(chan error, 1)
	ticks := time.NewTicker(window / slices)
	defer ticks.Stop()
	for n := 0; ; n++ {
		from, to := n%slices*len(f.records)/slices, (n%slices+1)*len(f.records)/slices
		for i := from; i < to; i++ {
			if err := f.write(ctx, &f.records[i], failed); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-ticks.C:
		}
	}
}

// write sends an interface's next window.
func (f *fleet) write(ctx context.Context, r *counts.Record, failed chan<- error) error {
	r.Seq++
	r.WindowEnd = time.Now()
	r.WindowStart = r.WindowEnd.Add(-window)
	value, err := counts.Encode(*r)
	if err != nil {
		return fmt.Errorf("encoding counts: %w", err)
	}
	record := &kgo.Record{Topic: f.topic, Key: []byte(r.Key()), Value: value}
	for _, h := range schemas.Headers(schemas.SchemaCounts) {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: h.Value})
	}
	f.client.Produce(ctx, record, func(_ *kgo.Record, err error) {
		if err != nil && ctx.Err() == nil {
			select {
			case failed <- fmt.Errorf("writing counts: %w", err):
			default:
			}
		}
	})
	return nil
}

func (f *fleet) close() { f.client.Close() }
