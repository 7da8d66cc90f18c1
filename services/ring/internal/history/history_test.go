package history

import (
	"math"
	"testing"
	"time"
)

func TestSeriesHoldsFifteenMinutes(t *testing.T) {
	var h Series
	start := time.Unix(1_700_000_000, 0)
	for i := range 2 * Slots {
		h.Set(start.Add(time.Duration(i)*time.Second), Sample{PPS: float32(i)})
	}
	now := start.Add(time.Duration(2*Slots-1) * time.Second)
	c := NewColumnar(now)
	c.Add(&h)
	if got, want := c.V[PPS][0], float64(Slots); got != want {
		t.Errorf("the oldest is %v, want %v", got, want)
	}
	if got, want := c.V[PPS][Slots-1], float64(2*Slots-1); got != want {
		t.Errorf("the newest is %v, want %v", got, want)
	}
}

func TestSeriesLastOfASecondWins(t *testing.T) {
	var h Series
	at := time.Unix(1_700_000_000, 0)
	h.Set(at, Sample{PPS: 1})
	h.Set(at.Add(999*time.Millisecond), Sample{PPS: 2})
	h.Set(at.Add(-Slots*time.Second), Sample{PPS: 9}) // same slot, 15 minutes late
	c := NewColumnar(at)
	c.Add(&h)
	if got := c.V[PPS][Slots-1]; got != 2 {
		t.Errorf("got %v, want 2", got)
	}
}

func TestColumnarSumsAndShowsGaps(t *testing.T) {
	var a, b Series
	at := time.Unix(1_700_000_000, 0)
	a.Set(at, Sample{PPS: 1, DroppedPPS: 3})
	b.Set(at, Sample{PPS: 2})
	b.Set(at.Add(-6*time.Second), Sample{PPS: 5})
	c := NewColumnar(at)
	c.Add(&a)
	c.Add(&b)
	c.Add(&Series{})
	if got := c.V[PPS][Slots-1]; got != 3 {
		t.Errorf("sum is %v, want 3", got)
	}
	if got := c.V[DroppedPPS][Slots-1]; got != 3 {
		t.Errorf("dropped is %v, want 3", got)
	}
	if got := c.V[PPS][Slots-2]; !math.IsNaN(got) {
		t.Errorf("the gap is %v, want NaN", got)
	}
	if got := c.V[PPS][Slots-7]; got != 5 {
		t.Errorf("one of two is %v, want 5", got)
	}
}

func TestColumnarHoldsWhatIsLate(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	var late, early Series
	for ago := range 20 {
		early.Set(now.Add(-time.Duration(ago)*time.Second), Sample{PPS: 1})
		if ago == 2 || ago == 3 || ago > 5 && ago < 12 {
			continue // two seconds between others, and six
		}
		late.Set(now.Add(-time.Duration(ago)*time.Second), Sample{PPS: 100})
	}
	c := NewColumnar(now)
	c.Add(&early)
	c.Add(&late)
	for ago := range 20 {
		want := 101.0
		if ago > 5 && ago < 12 {
			want = 1 // that is more than late
		}
		if got := c.V[PPS][Slots-1-ago]; got != want {
			t.Errorf("%d s ago: %v, want %v", ago, got, want)
		}
	}
}
