package xdp

import (
	"net/netip"
	"slices"
	"time"
)

// meterModel is what Config.SourceLimit makes of each source: when its bucket is empty
// again, which is known as well as the clock is read.
type meterModel struct {
	cost        time.Duration // of a packet
	low, high   map[netip.Addr]time.Duration
	exempt      []netip.Prefix
	mayBeOver   bool // the last packet asked about
	couldBeFine bool
}

func newMeterModel(limit uint64) meterModel {
	m := meterModel{low: map[netip.Addr]time.Duration{}, high: map[netip.Addr]time.Duration{}}
	if limit != 0 {
		m.cost = time.Second / time.Duration(limit)
	}
	return m
}

// ask finds out what may become of a packet that comes between two times.
func (m *meterModel) ask(a netip.Addr, t0, t1 time.Duration) {
	burst := max(m.cost, 250*time.Millisecond)
	m.mayBeOver, m.couldBeFine = false, true
	if high, known := m.high[a]; known {
		m.mayBeOver = max(high-t0, 0)+m.cost > burst
		m.couldBeFine = max(m.low[a]-t1, 0)+m.cost <= burst
	}
}

// pass enters a packet of which ask knows, and which was let through.
func (m *meterModel) pass(a netip.Addr, t0, t1 time.Duration) {
	if !m.couldBeFine {
		return
	}
	if m.high[a] = max(m.high[a], t1) + m.cost + 1; !m.mayBeOver { // or else it may be exempt and have cost nothing
		m.low[a] = max(m.low[a], t0) + m.cost
	}
}

// metered adds to the reasons with which a packet may leave what the limit on every
// source says, and takes away what it forbids.
func (f *fuzz) metered(want []string, p *dissected, s Slot, t0, t1 time.Duration) []string {
	m := &f.meter
	m.mayBeOver = false
	if f.cfg.SourceLimit == 0 || !slices.Contains(want, "pass") {
		return want
	}
	m.ask(p.counted(f.cfg.IPv6SourcePrefixLength == 128), t0, t1)
	if slices.ContainsFunc(m.exempt, func(e netip.Prefix) bool { return e.Contains(p.source) }) {
		return want
	}
	allowed := func(t time.Duration) bool {
		return slices.ContainsFunc(f.leases.covering(p, s, t), func(l *leaseState) bool { return l.Action == ActionAllow })
	}
	switch over := "limit_any_source"; {
	case m.mayBeOver && !(allowed(t0) && allowed(t1)) && f.modes[s] == FilterObserve:
		want = append(want, "would_drop")
	case m.mayBeOver && !(allowed(t0) && allowed(t1)):
		want = append(want, over)
	}
	if !m.couldBeFine {
		want = slices.DeleteFunc(want, func(r string) bool { return r == "pass" })
	}
	return want
}
