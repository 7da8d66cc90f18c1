package main

import (
	"testing"
	"time"
)

func TestWritesAreStuck(t *testing.T) {
	var w writes
	start := time.Now()
	for _, step := range []struct {
		seconds int
		windows uint64
		waiting bool
		want    bool
	}{
		{0, 0, false, false},
		{10, 0, true, false}, // the first sight of it
		{14, 0, true, false},
		{16, 0, true, true},
		{17, 1, true, false}, // that one is through, the next one waits
		{21, 1, true, false},
		{23, 1, true, true},
		{24, 2, false, false},
		{40, 2, true, false}, // waits since now, not since it was last seen
	} {
		if got := w.stuck(step.windows, step.waiting, start.Add(time.Duration(step.seconds)*time.Second)); got != step.want {
			t.Errorf("after %d s, %d windows, waiting %v: stuck %v, want %v", step.seconds, step.windows, step.waiting, got, step.want)
		}
	}
}
