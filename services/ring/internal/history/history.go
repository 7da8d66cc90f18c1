// Package history keeps the last 15 minutes of a node, one sample a second, in
// a ring of fixed size.
package history

import (
	"math"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
)

// Slots is how many seconds a Series holds; Step is the distance of two.
const (
	Slots = 900
	Step  = time.Second
)

// The columns of a Sample: packets per second, bits per second, dropped packets
// per second, then packets per second by class in schemas' order.
const (
	PPS        = 0
	BPS        = 1
	DroppedPPS = 2
	FirstClass = 3
	Columns    = FirstClass + schemas.NumClasses
)

// Sample is what one second looked like.
type Sample [Columns]float32

// Series is the ring of one node: about 43 KB, whatever happens. The zero value
// is empty and ready.
type Series struct {
	seconds []int64 // Unix time of each slot, 0: never written
	samples []Sample
}

// Set records s for the second of at; a later call in the same second wins, as
// rates are sliding sums over one second. Times older than what the slot holds
// are ignored.
func (h *Series) Set(at time.Time, s Sample) {
	if h.seconds == nil {
		h.seconds = make([]int64, Slots)
		h.samples = make([]Sample, Slots)
	}
	second := at.Unix()
	i := slot(second)
	if second < h.seconds[i] {
		return
	}
	h.seconds[i], h.samples[i] = second, s
}

// Median returns the middle value of one column over what h holds, or -1 with
// fewer than least seconds.
func (h *Series) Median(column, least int) float64 {
	var values []float32
	for i, second := range h.seconds {
		if second != 0 {
			values = append(values, h.samples[i][column])
		}
	}
	if len(values) < least {
		return -1
	}
	slices.Sort(values)
	return float64(values[len(values)/2])
}

// Columnar is a span of seconds as one list per column: V[c][i] belongs to the
// second Start+i. NaN stands where nothing was seen.
type Columnar struct {
	Start int64 // Unix seconds
	V     [Columns][]float64
}

// NewColumnar returns the empty span of the Slots seconds that end with now's.
func NewColumnar(now time.Time) *Columnar {
	c := &Columnar{Start: now.Unix() - Slots + 1}
	for i := range c.V {
		c.V[i] = make([]float64, Slots)
		for j := range c.V[i] {
			c.V[i][j] = math.NaN()
		}
	}
	return c
}

// hold is for how many missing seconds between two the first of them counts on: a
// record that came late would be a dip in the sum over many interfaces.
const hold = 3

// Add adds h to c, so that the sum over many interfaces is that of their host.
func (c *Columnar) Add(h *Series) {
	if h.seconds == nil {
		return
	}
	last := -1
	for j := range Slots {
		second := c.Start + int64(j)
		if h.seconds[slot(second)] != second {
			continue
		}
		if last >= 0 && j-last <= hold+1 {
			for missing := last + 1; missing < j; missing++ {
				c.add(missing, &h.samples[slot(c.Start+int64(last))])
			}
		}
		c.add(j, &h.samples[slot(second)])
		last = j
	}
}

func (c *Columnar) add(j int, s *Sample) {
	for k := range c.V {
		v := float64(s[k])
		if old := c.V[k][j]; !math.IsNaN(old) {
			v += old
		}
		c.V[k][j] = v
	}
}

func slot(second int64) int { return int(((second % Slots) + Slots) % Slots) }
