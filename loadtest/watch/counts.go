package watch

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weir-net/weir/schemas/counts"
)

// Counts sums the counts topic up: everything that one interface was reported
// to have received.
type Counts struct {
	mu         sync.Mutex
	ifname     string
	total      counts.Counters
	nonIP      uint64
	nonIPBytes uint64
	malformed  uint64
	malBytes   uint64
	other      counts.Counters
	tail       counts.Counters
	sources    map[netip.Addr]counts.Counters
	windows    map[window]*parts
	duplicates int
	unreadable []error
	prefix     int
	truncated  bool
	onWindow   []func(Window)
}

type window struct {
	boot string
	seq  uint64
}

type parts struct {
	chunks uint32
	have   map[uint32]bool
}

// Window is one window's chunk 0 as it arrived.
type Window struct {
	BootID string
	Seq    uint64
	Start  time.Time
	End    time.Time
	Totals counts.Totals
	Record Record
}

// NewCounts returns an empty sum over the interface ifname of any host.
func NewCounts(ifname string) *Counts {
	return &Counts{ifname: ifname, sources: make(map[netip.Addr]counts.Counters), windows: make(map[window]*parts)}
}

// Reset forgets everything but the windows already seen.
func (c *Counts) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total, c.other, c.tail = counts.Counters{}, counts.Counters{}, counts.Counters{}
	c.sources = make(map[netip.Addr]counts.Counters)
	c.nonIP, c.nonIPBytes, c.malformed, c.malBytes = 0, 0, 0, 0
	c.duplicates, c.unreadable, c.truncated = 0, nil, false
}

// OnWindow calls fn for each window's chunk 0, from the reader's goroutine.
func (c *Counts) OnWindow(fn func(Window)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.onWindow = append(c.onWindow, fn)
}

// Handle takes one record of the counts topic. A chunk that was there already
// is counted as a duplicate and otherwise ignored.
func (c *Counts) Handle(rec Record) {
	r, err := counts.Decode(rec.Value)
	c.mu.Lock()
	if err != nil {
		c.unreadable = append(c.unreadable, fmt.Errorf("counts at offset %d: %w", rec.Offset, err))
		c.mu.Unlock()
		return
	}
	fresh := r.Interface == c.ifname && c.add(r)
	handlers := slices.Clone(c.onWindow)
	c.mu.Unlock()
	if fresh && r.Totals != nil {
		for _, fn := range handlers {
			fn(Window{BootID: r.BootID, Seq: r.Seq, Start: r.WindowStart, End: r.WindowEnd, Totals: *r.Totals, Record: rec})
		}
	}
}

func (c *Counts) add(r counts.Record) bool {
	w := window{boot: r.BootID, seq: r.Seq}
	p := c.windows[w]
	if p == nil {
		p = &parts{chunks: r.Chunks, have: make(map[uint32]bool)}
		c.windows[w] = p
	}
	if p.have[r.Chunk] {
		c.duplicates++
		return false
	}
	p.have[r.Chunk] = true
	c.prefix = int(r.IPv6SourcePrefixLength)
	c.truncated = c.truncated || r.Truncated
	if t := r.Totals; t != nil {
		c.total.Add(t.Counters)
		c.other.Add(t.Other)
		c.tail.Add(t.Tail)
		c.nonIP += t.NonIP
		c.nonIPBytes += t.NonIPBytes
		c.malformed += t.Malformed
		c.malBytes += t.MalformedBytes
	}
	for _, s := range r.Sources {
		sum := c.sources[s.Address]
		sum.Add(s.Counters)
		c.sources[s.Address] = sum
	}
	return true
}

// Sums is a copy of everything that was counted.
type Sums struct {
	Total, Other, Tail        counts.Counters
	NonIP, NonIPBytes         uint64
	Malformed, MalformedBytes uint64
	Sources                   map[netip.Addr]counts.Counters
	Windows                   int
	Missing                   []string // windows and chunks that did not arrive
	Duplicates                int
	Unreadable                []error
	IPv6Prefix                int
	Truncated                 bool
}

// Frames is the number of all frames, IP or not.
func (s Sums) Frames() uint64 { return s.Total.Packets + s.NonIP + s.Malformed }

// Sums returns the sums so far.
func (c *Counts) Sums() Sums {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Sums{
		Total: c.total, Other: c.other, Tail: c.tail, NonIP: c.nonIP, NonIPBytes: c.nonIPBytes,
		Malformed: c.malformed, MalformedBytes: c.malBytes, Sources: maps.Clone(c.sources),
		Windows: len(c.windows), Missing: c.missing(), Duplicates: c.duplicates,
		Unreadable: slices.Clone(c.unreadable), IPv6Prefix: c.prefix, Truncated: c.truncated,
	}
}

// Frames is Sums().Frames() without the copies.
func (c *Counts) Frames() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.total.Packets + c.nonIP + c.malformed
}

// Accounted reports whether at least so many frames were counted and every
// window has all of its chunks.
func (c *Counts) Accounted(frames uint64) bool {
	if c.Frames() < frames {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.missing()) == 0
}

// Of sums the counters of all sources in a prefix.
func (s Sums) Of(p netip.Prefix) counts.Counters {
	var sum counts.Counters
	for a, c := range s.Sources {
		if p.Contains(a) {
			sum.Add(c)
		}
	}
	return sum
}

// missing lists gaps in the sequence of each boot and windows without all of
// their chunks.
func (c *Counts) missing() []string {
	last := make(map[string]uint64)
	for w := range c.windows {
		last[w.boot] = max(last[w.boot], w.seq)
	}
	var out []string
	for _, boot := range slices.Sorted(maps.Keys(last)) {
		for seq := uint64(1); seq <= last[boot]; seq++ {
			p := c.windows[window{boot: boot, seq: seq}]
			switch {
			case p == nil:
				out = append(out, fmt.Sprintf("window %d of %s", seq, boot))
			case len(p.have) != int(p.chunks):
				out = append(out, fmt.Sprintf("%d of %d chunks of window %d of %s", int(p.chunks)-len(p.have), p.chunks, seq, boot))
			}
		}
	}
	return out
}
