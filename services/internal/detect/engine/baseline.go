package engine

import (
	"math"
	"math/bits"
	"net/netip"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/baselines"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/services/internal/detect/rules"
)

// ewmaConstant is the time in which the average of a baseline follows a step by
// 63 %.
const ewmaConstant = 5 * time.Minute

// classBuckets are bounds of the histogram: half octaves up to 2^20 packets per
// second.
const classBuckets = baselines.Buckets

// baseline is what is usual on an interface: per class an average and a
// histogram of the packets per second, learned while it is quiet.
type baseline struct {
	classes     [schemas.NumClasses]classBaseline
	quiet       time.Duration // of what has been learned
	sampledAt   time.Time
	frozenUntil time.Time
}

type classBaseline struct {
	ewma  float64
	seen  [classBuckets]uint16
	total uint32
}

func bucketOf(pps float64) int {
	if pps < 1 {
		return 0
	}
	return min(classBuckets-1, 1+int(2*math.Log2(pps)))
}

// add learns one second; memory is how many seconds are remembered in full.
func (c *classBaseline) add(pps float64, memory uint32) {
	if c.total == 0 {
		c.ewma = pps
	}
	c.ewma += (pps - c.ewma) * (1 - math.Exp(-1/ewmaConstant.Seconds()))
	c.seen[bucketOf(pps)]++
	c.total++
	if c.total < min(2*memory, math.MaxUint16) {
		return
	}
	c.total = 0
	for i := range c.seen {
		c.seen[i] /= 2
		c.total += uint32(c.seen[i])
	}
}

// peak is the 95th percentile, rounded up to the bound of its bucket.
func (c *classBaseline) peak() float64 {
	above := uint32(0)
	for i := classBuckets - 1; i > 0; i-- {
		if above += uint32(c.seen[i]); above*20 > c.total {
			return math.Exp2(float64(i) / 2)
		}
	}
	return 1
}

// isUsual is the baseline's vote: a rate that the interface has known in quiet
// times is no attack, if it has been watched long enough to tell.
func (t *turn) isUsual(set *rules.Set, class schemas.Class, pps float64) bool {
	b := &t.w.usual
	return b.quiet >= set.Baseline.Warm && pps <= set.Baseline.Factor*b.classes[class].peak()
}

// learn takes the record into what is usual, once a second, unless there is an
// attack or there was one a moment ago.
func (t *turn) learn() {
	w, b, s := t.w, &t.w.usual, &t.w.set.Baseline
	if t.attacked || len(t.Engine.held[w.target]) > 0 {
		b.frozenUntil = t.now.Add(s.Thaw)
		w.regulars.doubt(t.now)
	}
	if t.now.Before(b.frozenUntil) || t.now.Sub(b.sampledAt) < time.Second {
		return
	}
	b.sampledAt = t.now
	b.quiet += time.Second
	for c := range b.classes {
		b.classes[c].add(float64(t.r.Window1s.ByClass[c]), uint32(s.Memory.Seconds()))
	}
	w.regulars.learn(t.r, t.now)
}

// The spans of what regulars remember.
const (
	probation = 10 * time.Second // a source must have been there before an attack, not with it
	halfHour  = 30 * time.Minute
)

// regulars are the sources of the last quiet hour, in constant memory: Bloom
// filters of 8,192 bits. What a filter holds too much makes the policy more
// careful, never less.
type regulars struct {
	forming, waiting bloom // the last probations
	current, before  bloom // half hours
	formingAt        time.Time
	currentAt        time.Time
}

type bloom [128]uint64

// learn takes the sources of a quiet record.
func (g *regulars) learn(r *rates.Record, now time.Time) {
	if now.Sub(g.formingAt) >= probation {
		g.current.merge(&g.waiting)
		g.waiting, g.forming, g.formingAt = g.forming, bloom{}, now
	}
	if now.Sub(g.currentAt) >= halfHour {
		if !g.currentAt.IsZero() {
			g.before, g.current = g.current, bloom{}
		}
		g.currentAt = now
	}
	for i := range r.Top {
		s := &r.Top[i]
		g.forming.add(hashOf(s.Source, 0))
		if c := &s.Window10s; c.ByClass[schemas.ClassTCPOther] >= 5*c.ByClass[schemas.ClassSYN] && c.ByClass[schemas.ClassTCPOther] > 0 {
			g.forming.add(hashOf(s.Source, 1))
		}
	}
}

// doubt forgets who came just before an attack, or with it.
func (g *regulars) doubt(now time.Time) {
	g.forming, g.waiting, g.formingAt = bloom{}, bloom{}, now
}

// has reports whether a source was seen in the last quiet hour.
func (g *regulars) has(a netip.Addr) bool { return g.remembers(hashOf(a, 0)) }

// talked reports whether it had healthy TCP connections then.
func (g *regulars) talked(a netip.Addr) bool { return g.remembers(hashOf(a, 1)) }

func (g *regulars) remembers(h uint64) bool { return g.current.has(h) || g.before.has(h) }

// count estimates how many sources that were.
func (g *regulars) count() float64 {
	ones := 0
	for i := range g.current {
		ones += bits.OnesCount64(g.current[i] | g.before[i])
	}
	const size = 64 * len(bloom{})
	// Two bits for each source, and two for each that talked: at most four.
	return -float64(size) / 4 * math.Log(1-float64(min(ones, size-1))/float64(size))
}

func (b *bloom) add(h uint64) {
	for range 2 {
		b[h>>6&127] |= 1 << (h & 63)
		h >>= 32
	}
}

func (b *bloom) has(h uint64) bool {
	for range 2 {
		if b[h>>6&127]&(1<<(h&63)) == 0 {
			return false
		}
		h >>= 32
	}
	return true
}

func (b *bloom) merge(o *bloom) {
	for i := range b {
		b[i] |= o[i]
	}
}

// hashOf mixes an address; salt tells questions apart.
func hashOf(a netip.Addr, salt uint64) uint64 {
	h := salt*0x9e3779b97f4a7c15 + 0x243f6a8885a308d3
	for _, c := range a.As16() {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}
