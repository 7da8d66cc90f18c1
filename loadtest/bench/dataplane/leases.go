package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/loadtest/bench/peers"
	"github.com/weir-net/weir/loadtest/bench/results"
	"github.com/weir-net/weir/loadtest/bench/testrun"
	"github.com/weir-net/weir/loadtest/lab"
)

// Numbers of sources that packets do not come from, for leases that match none.
const (
	strangers        = 1 << 25
	strangerPrefixes = 1 << 26
	otherStrangers   = 1 << 27
)

// Rows and columns that goals speak of.
const (
	rowNoLease     = "no lease"
	row10k         = "10k exact"
	row1M          = "1M exact"
	rowPrefixes    = "100k prefixes"
	columnPassing  = "100k sources, none listed"
	column10kAll   = "10k sources, all listed"
	column1MAll    = "1M sources, all listed"
	columnBulk     = "leases per second"
	leasesPerPut   = 8192 // as many as a record of the topic's replay brings
	prefixLeases   = 100_000
	exactFewLeases = 10_000
	exactAllLeases = 1_000_000
	defaultLeases  = 1 << 17 // a probe's capacity unless more are configured
)

// bulkOf names a row of the loading.
func bulkOf(row string) string { return "Weir, " + row }

// exactLeases returns drops of the sources numbered from first.
func exactLeases(first, n uint32) []xdp.Entry {
	entries := make([]xdp.Entry, n)
	for i := range entries {
		a := peers.Address(first + uint32(i))
		entries[i] = drop(netip.PrefixFrom(a, 32))
	}
	return entries
}

// prefixesOf returns drops of prefixes from /24 to /31.
func prefixesOf(first, n uint32) []xdp.Entry {
	entries := make([]xdp.Entry, n)
	for i := range entries {
		a := peers.Address(first + uint32(i))
		entries[i] = drop(netip.PrefixFrom(a, 24+i%8).Masked())
	}
	return entries
}

func drop(source netip.Prefix) xdp.Entry {
	return xdp.Entry{Match: xdp.Match{Source: source}, Action: xdp.ActionDrop, Interfaces: ^uint64(0)}
}

// load puts leases in portions and returns how long that took.
func load(w *testrun.Weir, entries []xdp.Entry) (time.Duration, error) {
	start := time.Now()
	for len(entries) > 0 {
		n := min(len(entries), leasesPerPut)
		if err := w.Put(entries[:n]); err != nil {
			return 0, fmt.Errorf("loading leases: %w", err)
		}
		entries = entries[n:]
	}
	return time.Since(start), nil
}

// limits are leases on the sources numbered from first that never take effect.
func limits(first, n uint32) []xdp.Entry {
	entries := exactLeases(first, n)
	for i := range entries {
		entries[i].Action, entries[i].PPS = xdp.ActionRateLimit, 10_000_000
	}
	return entries
}

// signatures are drops of what the victim is not sent: the hardest to tell from
// what it is.
func signatures(n int) []xdp.Entry {
	entries := make([]xdp.Entry, n)
	for i := range entries {
		entries[i] = xdp.Entry{
			Match:  xdp.Match{Destination: netip.PrefixFrom(lab.VictimAddress, 32), Protocol: 6, DestinationPort: uint16(1000 + i)},
			Action: xdp.ActionDrop, Interfaces: ^uint64(0),
		}
	}
	return entries
}

// loaded is a data plane with leases, and the comparisons that it is part of.
type loaded struct {
	row     string
	entries []xdp.Entry
	in      []*bench
}

// open loads it and returns how many leases per second that were.
func (l loaded) open(c Config) (rate float64, err error) {
	capacity := max(defaultLeases, len(l.entries))
	w, err := testrun.OpenWeir(xdp.Config{SourceWays: c.records(), MaxLeases: capacity})
	if err != nil {
		return 0, err
	}
	l.in[0].closers = append(l.in[0].closers, w.Close)
	took, err := load(w, l.entries)
	if err != nil {
		return 0, err
	}
	for _, b := range l.in {
		if err := b.add(w.Subject(l.row, testrun.SYN())); err != nil {
			return 0, err
		}
	}
	return float64(len(l.entries)) / took.Seconds(), nil
}

// leases measures what loaded leases cost packets that match none, what packets
// cost that match, and how fast leases are loaded.
func leases(ctx context.Context, c Config) (tables []results.Experiment, err error) {
	cost := results.Experiment{
		ID: "leases", Title: "Cost per packet by leases loaded", Unit: "net ns per packet", Versus: rowNoLease,
		Method: "Sources and leases are spread over all of IPv4. Prefixes are /24 to /31. " +
			"Listed packets are dropped, but where it says rate limits. " +
			"The filter has the default capacity, but for 1M leases.",
	}
	bulk := results.Experiment{
		ID: "bulk", Title: "Loading leases in bulk", Unit: "leases per second",
		Method: fmt.Sprintf("Wall time of the control plane's API in portions of %d, until the last lease is in force.", leasesPerPut),
	}
	passing, listed10k, listed1M := &bench{}, &bench{}, &bench{}
	defer func() { err = errors.Join(err, listed1M.close(), listed10k.close(), passing.close()) }()
	for _, b := range []*bench{passing, listed10k, listed1M} {
		if err := b.addPeers(1, [][2]string{nothing}); err != nil {
			return nil, err
		}
	}
	for _, l := range []loaded{
		{rowNoLease, nil, []*bench{passing, listed10k, listed1M}},
		{row10k, exactLeases(strangers, exactFewLeases), []*bench{passing, listed10k}},
		{row1M, exactLeases(strangers, exactAllLeases), []*bench{passing, listed1M}},
		{rowPrefixes, prefixesOf(strangerPrefixes, prefixLeases), []*bench{passing}},
		{"10k exact, of others", exactLeases(otherStrangers, exactFewLeases), []*bench{listed10k}},
		{"10k exact, rate limits not reached", limits(strangers, exactFewLeases), []*bench{listed10k}},
		{"256 signatures of the victim, other ports", signatures(xdp.MaxSignatures), []*bench{passing}},
	} {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if c.Quick && !slices.Contains([]string{rowNoLease, row10k, row1M}, l.row) {
			continue
		}
		fmt.Fprintf(c.Log, "leases: loading %s\n", l.row)
		rate, err := l.open(c)
		if err != nil {
			return nil, err
		}
		if len(l.entries) >= exactFewLeases {
			bulk.Add(bulkOf(l.row), columnBulk, rate, 0, 0)
		}
	}
	for _, m := range []struct {
		b        *bench
		first, n uint32
		column   string
	}{
		{passing, 1, 100_000, columnPassing},
		{listed10k, strangers, exactFewLeases, column10kAll},
		{listed1M, strangers, exactAllLeases, column1MAll},
	} {
		fmt.Fprintf(c.Log, "leases: %s\n", m.column)
		if err := measure(ctx, c, m.b, sources{m.first, m.n, m.column}, &cost); err != nil {
			return nil, err
		}
	}
	return []results.Experiment{cost, bulk}, nil
}
