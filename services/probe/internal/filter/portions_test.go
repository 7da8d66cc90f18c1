package filter

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/services/probe/internal/guard"
)

// portions is a data plane that notes how much is asked of it at a time, and that
// can be asked by several at once.
type portions struct {
	sync.Mutex
	memory
	largest, calls int
}

func (p *portions) note(n int) func() {
	p.Lock()
	p.largest, p.calls = max(p.largest, n), p.calls+1
	return p.Unlock
}

func (p *portions) Put(all []xdp.Entry) error {
	defer p.note(len(all))()
	return p.memory.Put(all)
}

func (p *portions) Delete(all []xdp.Match) (int, error) {
	defer p.note(len(all))()
	return p.memory.Delete(all)
}

// Entries calls f without the lock, as a data plane does.
func (p *portions) Entries(f func(xdp.Entry, xdp.Drops) bool) {
	p.Lock()
	var all []xdp.Entry
	for _, e := range p.entries {
		all = append(all, e)
	}
	p.Unlock()
	for _, e := range all {
		if !f(e, xdp.Drops{Packets: uint64(e.Offset), Last: 1}) {
			return
		}
	}
}

func (p *portions) Dropping(f func(xdp.Entry, xdp.Drops) bool) { p.Entries(f) }

func (p *portions) SetFilterMode(s xdp.Slot, m xdp.FilterMode) {
	defer p.note(0)()
	p.memory.SetFilterMode(s, m)
}

func (p *portions) SetExempt(e []netip.Prefix) error {
	defer p.note(0)()
	return p.memory.SetExempt(e)
}

func (p *portions) Len() (int, int) {
	p.Lock()
	defer p.Unlock()
	return p.memory.Len()
}

const many = 5 * blockSize

func newPortions(t *testing.T) (*bench, *portions) {
	t.Helper()
	b := newBench(t, func(o *Options) { o.MaxPerIssuer = 0 })
	p := &portions{memory: memory{entries: map[xdp.Match]xdp.Entry{}, modes: map[xdp.Slot]xdp.FilterMode{}, room: 2 * many}}
	b.dp, b.Filter.dp = &p.memory, p
	return b, p
}

// sources are drops of n sources, from the one numbered first on.
func (b *bench) sources(first, n int) []*kgo.Record {
	var out []*kgo.Record
	for i := first; i < first+n; i++ {
		out = append(out, &kgo.Record{Topic: "commands", Key: fmt.Appendf(nil, "*|11.%d.%d.%d/32|a", i>>16, i>>8&255, i&255),
			Value: []byte(`{"action":"drop","ttl":"1h"}`), Offset: int64(i), Timestamp: b.now})
	}
	return out
}

// expect holds the leases in the data plane against what should be there, and the
// calls since the last time against how many leases they were about.
func (p *portions) expect(t *testing.T, step string, want, about int) {
	t.Helper()
	if n, _ := p.Len(); n != want {
		t.Fatalf("%s: %d leases in the data plane, want %d", step, n, want)
	}
	if p.largest > blockSize || p.calls < about/blockSize {
		t.Fatalf("%s: %d calls, of up to %d leases, want at most %d at a time", step, p.calls, p.largest, blockSize)
	}
	p.largest, p.calls = 0, 0
}

// TestPortions: whatever concerns all leases hands the data plane a portion at a
// time, and lets go of the lock in between.
func TestPortions(t *testing.T) {
	b, p := newPortions(t)
	b.Begin()
	b.Records(b.sources(0, many))
	p.expect(t, "a replay under way", 0, 0)
	b.Position(many, true)
	p.expect(t, "a replay", many, many)
	b.Reinstall()
	p.expect(t, "other interfaces", many, many)
	own := func(n byte) guard.Facts { return guard.Facts{Own: []netip.Addr{netip.AddrFrom4([4]byte{11, 0, 0, n})}} }
	b.SetFacts(own(7))
	p.expect(t, "other facts", many-1, 1)
	b.SetFacts(own(8))
	p.expect(t, "other facts again", many-1, 2)
	b.SetFacts(guard.Facts{})
	p.expect(t, "no facts", many, 1)

	b.Begin()
	b.Records(b.sources(many/2, many))
	b.Position(2*many, true)
	p.expect(t, "a replay of another log", many, many+many/2)
	if got := b.effective("11.0.0.0/32"); got != "" {
		t.Errorf("not on the log any more: %q", got)
	}
	b.now = b.now.Add(2 * time.Hour)
	b.expire()
	p.expect(t, "after the end of all", 0, many)
	if b.live.n != 0 || len(b.events) > 4 {
		t.Errorf("%d leases are held, events %+v", b.live.n, b.events)
	}
}

// TestExpiryDuringTakeOver: what changes while a replay is installed is in the data
// plane afterwards.
func TestExpiryDuringTakeOver(t *testing.T) {
	b, p := newPortions(t)
	b.Begin()
	all := b.sources(0, many)
	all[1].Value = []byte(`{"action":"drop","ttl":"1m"}`)
	all[many-1].Value = []byte(`{"action":"drop","ttl":"1m"}`)
	b.Records(all)
	meanwhile := sync.OnceFunc(func() { // the lock is free between two portions
		b.now = b.now.Add(2 * time.Minute)
		b.expire()
	})
	b.Interfaces = func() []Interface {
		if p.calls == 2 {
			p.calls++ // expire asks for the interfaces too
			b.mu.Unlock()
			meanwhile()
			b.mu.Lock()
		}
		return []Interface{{0, "eth0"}, {1, "eth1"}}
	}
	b.Position(many, true)
	if n, _ := p.Len(); n != many-2 || b.live.n != many-2 {
		t.Errorf("%d leases in the data plane, %d held, want %d", n, b.live.n, many-2)
	}
}

// TestAllAtOnce lets everything that shares the filter at it together; the race
// detector and the final state are the judges.
func TestAllAtOnce(t *testing.T) {
	b, p := newPortions(t)
	b.Now = time.Now
	b.Publish = nil
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, step := range []func(){
		func() { b.Reinstall() },
		func() { b.expire(); b.deadMan(false); b.deadMan(true) },
		func() { b.Status(Interface{0, "eth0"}); b.Applied() },
	} {
		running.Go(func() {
			for ctx.Err() == nil {
				step()
			}
		})
	}
	for i := range 4 {
		b.Begin()
		b.Records(b.sources(i*blockSize, many))
		b.Position(many, true)
		b.Records(b.sources(0, 10))
		b.Position(many, true)
	}
	stop()
	running.Wait()
	want := many + 10
	if n, _ := p.Len(); n != want || b.live.n != want {
		t.Errorf("%d leases in the data plane and %d held, want %d", n, b.live.n, want)
	}
	if out := b.Status(Interface{0, "eth0"}); len(out.Drops) != maxDrops || out.Leases != want || out.Drops[0].Offset < out.Drops[1].Offset {
		t.Errorf("status has %d leases and lists %d that dropped", out.Leases, len(out.Drops))
	}
}

// TestSameMatch: leases of one match are searched one by one, so there is a bound.
func TestSameMatch(t *testing.T) {
	b := newBench(t, func(o *Options) { o.MaxPerIssuer = 0 })
	b.dp.room = 2 * maxSameMatch
	for i := range maxSameMatch {
		b.write(fmt.Sprintf("*|%s|a%d", src, i), `{"action":"drop"}`)
	}
	if len(b.events) > 0 {
		t.Fatalf("events %+v", b.events)
	}
	b.write("*|"+src+"|other", `{"action":"drop"}`)
	if len(b.events) != 1 || !strings.Contains(b.events[0].Reason, "the most that one may have") {
		t.Errorf("one more: events %+v", b.events)
	}
	b.write("*|"+src+"|a7", `{"action":"allow"}`)
	if got := b.effective(src); got != allow || len(b.events) != 1 {
		t.Errorf("a renewal: %q, events %+v", got, b.events)
	}
	b.write("*|"+src+"|a9", "")
	b.write("*|"+src+"|other", `{"action":"drop"}`)
	if len(b.events) != 1 {
		t.Errorf("in the place of a released one: events %+v", b.events)
	}
}
