// Package drain ends each window of the data plane and publishes what it
// counted, without losing a packet: a window stays in the kernel until the
// broker has acknowledged its records.
package drain

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts"
)

// How many sources a record carries. Chunk 0 has the heaviest by every measure,
// as many of each as the data plane lists in any case, so that it suffices for the
// table of rates.
const (
	chunkSources    = 4096
	victimsInRecord = 128
	portsInRecord   = 128
)

// Identity is what all records of one interface share.
type Identity struct {
	Host, Interface  string
	Ifindex          uint32
	IPv6PrefixLength uint8
}

// Span is when a window was.
type Span struct {
	Start, End time.Time
	Duration   time.Duration
}

// Records turns one window into its chunks. maxSources bounds the sources that
// are exported; the lightest beyond it are summed up in Tail. The result is a
// function of its arguments: publishing a window again gives the same chunks.
func Records(w *xdp.Window, id Identity, span Span, maxSources int) []counts.Record {
	totals := &counts.Totals{
		Counters: counters(&w.Totals), Other: counters(&w.Other),
		NonIP: w.NonIP, NonIPBytes: w.NonIPBytes, Malformed: w.Malformed, MalformedBytes: w.MalformedBytes,
		SourcesSketch: w.SourcesSketch, SYNSourcesSketch: w.SYNSketch, SYNACKSourcesSketch: w.SYNACKSketch,
		Victims: heaviestTargets(named(w.Targets), victimsInRecord), Ports: heaviestTargets(ports(w.Targets), portsInRecord),
	}
	head, tail := split(&w.Sources, chunkSources, maxSources)
	// What is not exported is what is left of the totals.
	left := minus(w.Totals, &w.Other)
	n := 1 + (len(tail)+chunkSources-1)/chunkSources
	records := make([]counts.Record, 0, n)
	for i := range n {
		r := counts.Record{
			Host: id.Host, Interface: id.Interface, Ifindex: id.Ifindex, Direction: "ingress",
			BootID: w.BootID, Seq: w.Seq, WindowStart: span.Start, WindowEnd: span.End, Duration: span.Duration,
			Chunk: uint32(i), Chunks: uint32(n), IPv6SourcePrefixLength: id.IPv6PrefixLength, Truncated: w.Truncated,
		}
		part := head
		if i == 0 {
			r.Totals = totals
		} else {
			part = tail[(i-1)*chunkSources : min(i*chunkSources, len(tail))]
		}
		r.Sources = make([]counts.Source, len(part))
		for j, at := range part {
			s := w.Sources.At(at)
			left = minus(left, &s.Counters)
			r.Sources[j] = counts.Source{Address: s.Address, Counters: counters(&s.Counters), PortPairs: s.PortPairs}
		}
		records = append(records, r)
	}
	if shed := w.Sources.Len() + w.Sources.More() - len(head) - len(tail); shed > 0 {
		totals.Tail, totals.TailSources = counters(&left), uint64(shed)
	}
	return records
}

func counters(c *xdp.Counters) counts.Counters {
	return counts.Counters{Packets: c.Packets, Bytes: c.Bytes, ByClass: c.ByClass, UDPBytes: c.UDPBytes, Dropped: c.Dropped}
}

// minus returns what is left of c without part.
func minus(c xdp.Counters, part *xdp.Counters) xdp.Counters {
	c.Packets -= part.Packets
	c.Bytes -= part.Bytes
	c.UDPBytes -= part.UDPBytes
	c.Dropped -= part.Dropped
	for i, n := range part.ByClass {
		c.ByClass[i] -= n
	}
	return c
}

// split returns the positions of the sources for chunk 0, which are all if there are
// no more than few, and of the rest as far as there is room for most in all.
func split(sources *xdp.Sources, few, most int) (head, tail []int) {
	n := sources.Len()
	if n <= few {
		head = make([]int, n)
		for i := range head {
			head[i] = i
		}
		return head, nil
	}
	packets, bytes := heaviest{most: xdp.HeaviestByPackets}, heaviest{most: xdp.HeaviestByBytes}
	var class [xdp.NumClasses]heaviest
	for i, s := range sources.All() {
		packets.offer(i, s.Packets)
		bytes.offer(i, s.Bytes)
		for c, n := range s.ByClass {
			if n != 0 {
				class[c].most = xdp.HeaviestByClass
				class[c].offer(i, n)
			}
		}
	}
	head = append(packets.positions(), bytes.positions()...)
	for c := range class {
		head = append(head, class[c].positions()...)
	}
	slices.Sort(head)
	head = slices.Compact(head)
	tail = make([]int, 0, max(0, min(n, most)-len(head)))
	for i, at := 0, 0; len(tail) < cap(tail); i++ {
		if at < len(head) && head[at] == i {
			at++
		} else {
			tail = append(tail, i)
		}
	}
	return head, tail
}

// named returns the targets with a destination. Where there are more than the
// data plane has room for, some are counted by their port only.
func named(targets []xdp.Target) []xdp.Target {
	out := make([]xdp.Target, 0, len(targets))
	for i := range targets {
		if targets[i].Destination.IsValid() {
			out = append(out, targets[i])
		}
	}
	return out
}

// ports sums targets over their destinations.
func ports(targets []xdp.Target) []xdp.Target {
	type key struct {
		class, protocol uint8
		port            uint16
	}
	index := map[key]int{}
	var out []xdp.Target
	for _, t := range targets {
		if t.Port == 0 {
			continue
		}
		k := key{t.Class, t.Protocol, t.Port}
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, xdp.Target{Class: t.Class, Protocol: t.Protocol, Port: t.Port})
		}
		out[i].Packets += t.Packets
		out[i].Bytes += t.Bytes
		out[i].Dropped += t.Dropped
		out[i].SourceBits |= t.SourceBits
	}
	return out
}

// heaviestTargets returns the heaviest n, and the heaviest few of each class
// among them.
func heaviestTargets(targets []xdp.Target, n int) []counts.Target {
	chosen := map[int]bool{}
	pick := func(k int, weight func(int) uint64) {
		h := heaviest{most: k}
		for i := range targets {
			h.offer(i, weight(i))
		}
		for _, i := range h.positions() {
			chosen[i] = true
		}
	}
	pick(n/2, func(i int) uint64 { return targets[i].Packets })
	for c := range schemas.NumClasses {
		pick(n/2/schemas.NumClasses, func(i int) uint64 {
			if int(targets[i].Class) != c {
				return 0
			}
			return targets[i].Packets
		})
	}
	out := make([]counts.Target, 0, len(chosen))
	for i := range targets {
		if !chosen[i] {
			continue
		}
		t := &targets[i]
		out = append(out, counts.Target{
			Destination: t.Destination, Class: schemas.Class(t.Class), Protocol: t.Protocol, Port: t.Port,
			Packets: t.Packets, Bytes: t.Bytes, Dropped: t.Dropped, SourceBits: t.SourceBits,
		})
	}
	slices.SortFunc(out, func(a, b counts.Target) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), compareAddr(a.Destination, b.Destination),
			cmp.Compare(a.Class, b.Class), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out
}

func compareAddr(a, b netip.Addr) int { return a.Compare(b) }
