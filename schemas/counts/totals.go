package counts

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/counts/internal/countspb"
)

func countersToWire(c Counters) *countspb.Counters {
	if c == (Counters{}) {
		return nil
	}
	n := len(c.ByClass)
	for n > 0 && c.ByClass[n-1] == 0 {
		n--
	}
	return &countspb.Counters{
		Packets: c.Packets, Bytes: c.Bytes, ByClass: slices.Clone(c.ByClass[:n]),
		UdpBytes: c.UDPBytes, Dropped: c.Dropped,
	}
}

// countersFromWire folds classes that this code does not know yet into
// ClassOther, so that the classes still add up to the packets.
func countersFromWire(w *countspb.Counters) (Counters, error) {
	c := Counters{Packets: w.GetPackets(), Bytes: w.GetBytes(), UDPBytes: w.GetUdpBytes(), Dropped: w.GetDropped()}
	if err := checkCounts("totals", []uint64{c.Packets, c.Bytes, c.UDPBytes, c.Dropped}); err != nil {
		return c, err
	}
	if err := checkCounts("totals", w.GetByClass()); err != nil {
		return c, err
	}
	if n := len(w.GetByClass()); n > 256 {
		return c, schemas.Refuse(schemas.FaultTooLarge, "totals: %d classes", n)
	}
	for i, v := range w.GetByClass() {
		c.ByClass[min(i, int(schemas.ClassOther))] += v
	}
	return c, nil
}

func totalsToWire(t *Totals) *countspb.Totals {
	w := &countspb.Totals{
		Counters: countersToWire(t.Counters),
		NonIp:    t.NonIP, NonIpBytes: t.NonIPBytes,
		Malformed: t.Malformed, MalformedBytes: t.MalformedBytes,
		Other: countersToWire(t.Other), Tail: countersToWire(t.Tail), TailSources: t.TailSources,
		SourcesSketch: t.SourcesSketch, SynSourcesSketch: t.SYNSourcesSketch, SynackSourcesSketch: t.SYNACKSourcesSketch,
		Victims: targetsToWire(t.Victims), Ports: targetsToWire(t.Ports),
	}
	for _, name := range slices.Sorted(maps.Keys(t.Verdicts)) {
		w.VerdictName = append(w.VerdictName, name)
		w.VerdictPackets = append(w.VerdictPackets, t.Verdicts[name])
	}
	return w
}

func totalsFromWire(w *countspb.Totals) (*Totals, error) {
	t := &Totals{
		NonIP: w.GetNonIp(), NonIPBytes: w.GetNonIpBytes(),
		Malformed: w.GetMalformed(), MalformedBytes: w.GetMalformedBytes(),
		TailSources:   w.GetTailSources(),
		SourcesSketch: w.GetSourcesSketch(), SYNSourcesSketch: w.GetSynSourcesSketch(), SYNACKSourcesSketch: w.GetSynackSourcesSketch(),
	}
	var err error
	if t.Counters, err = countersFromWire(w.GetCounters()); err != nil {
		return nil, err
	}
	if t.Other, err = countersFromWire(w.GetOther()); err != nil {
		return nil, err
	}
	if t.Tail, err = countersFromWire(w.GetTail()); err != nil {
		return nil, err
	}
	if err := checkCounts("totals", []uint64{t.NonIP, t.NonIPBytes, t.Malformed, t.MalformedBytes, t.TailSources}); err != nil {
		return nil, err
	}
	if n := len(w.GetVerdictName()); n > MaxVerdicts || n != len(w.GetVerdictPackets()) {
		return nil, schemas.Refuse(schemas.FaultField, "totals: %d verdict names for %d counts, at most %d", n, len(w.GetVerdictPackets()), MaxVerdicts)
	}
	if err := checkCounts("verdicts", w.GetVerdictPackets()); err != nil {
		return nil, err
	}
	if len(w.GetVerdictName()) > 0 {
		t.Verdicts = make(map[string]uint64, len(w.GetVerdictName()))
		for i, name := range w.GetVerdictName() {
			t.Verdicts[name] = w.GetVerdictPackets()[i]
		}
	}
	for _, sketch := range [][]byte{t.SourcesSketch, t.SYNSourcesSketch, t.SYNACKSourcesSketch} {
		if len(sketch) > MaxSketch {
			return nil, schemas.Refuse(schemas.FaultTooLarge, "totals: a sketch has %d bytes, at most %d", len(sketch), MaxSketch)
		}
	}
	if t.Victims, err = targetsFromWire("victims", w.GetVictims()); err != nil {
		return nil, err
	}
	if t.Ports, err = targetsFromWire("ports", w.GetPorts()); err != nil {
		return nil, err
	}
	return t, nil
}

func targetsToWire(targets []Target) *countspb.Targets {
	if len(targets) == 0 {
		return nil
	}
	w := &countspb.Targets{}
	addresses := false
	for i := range targets {
		t := &targets[i]
		addresses = addresses || t.Destination.IsValid()
		w.Destination = append(w.Destination, t.Destination.AsSlice())
		w.Class = append(w.Class, uint32(t.Class))
		w.Protocol = append(w.Protocol, uint32(t.Protocol))
		w.Port = append(w.Port, uint32(t.Port))
		w.Packets = append(w.Packets, t.Packets)
		w.Bytes = append(w.Bytes, t.Bytes)
		w.Dropped = append(w.Dropped, t.Dropped)
		w.SourceBits = append(w.SourceBits, t.SourceBits)
	}
	if !addresses {
		w.Destination = nil
	}
	return w
}

func targetsFromWire(table string, w *countspb.Targets) ([]Target, error) {
	n := len(w.GetPackets())
	if n == 0 {
		return nil, nil
	}
	if n > MaxTargets {
		return nil, schemas.Refuse(schemas.FaultTooLarge, "%d %s, at most %d", n, table, MaxTargets)
	}
	for _, column := range []int{len(w.GetDestination()), len(w.GetClass()), len(w.GetProtocol()), len(w.GetPort()), len(w.GetBytes()), len(w.GetDropped()), len(w.GetSourceBits())} {
		if err := checkColumn(table, column, n); err != nil {
			return nil, err
		}
	}
	for _, column := range [][]uint64{w.GetPackets(), w.GetBytes(), w.GetDropped()} {
		if err := checkCounts(table, column); err != nil {
			return nil, err
		}
	}
	out := make([]Target, n)
	for i := range out {
		t := Target{Packets: w.GetPackets()[i], Bytes: at(w.GetBytes(), i), Dropped: at(w.GetDropped(), i), SourceBits: at(w.GetSourceBits(), i)}
		class, protocol, port := at(w.GetClass(), i), at(w.GetProtocol(), i), at(w.GetPort(), i)
		if protocol > 255 || port > 65535 {
			return nil, schemas.Refuse(schemas.FaultField, "%s: protocol %d, port %d", table, protocol, port)
		}
		t.Class = schemas.Class(min(class, uint32(schemas.ClassOther)))
		t.Protocol, t.Port = uint8(protocol), uint16(port)
		if b := at(w.GetDestination(), i); len(b) > 0 {
			a, ok := netip.AddrFromSlice(b)
			if !ok {
				return nil, schemas.Refuse(schemas.FaultField, "%s: a destination has %d bytes, want 4 or 16", table, len(b))
			}
			t.Destination = a
		}
		out[i] = t
	}
	return out, nil
}

// at returns column[i], or zero if the column was left out.
func at[T any](column []T, i int) T {
	if i < len(column) {
		return column[i]
	}
	var zero T
	return zero
}
