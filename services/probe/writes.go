package main

import (
	"sync"
	"time"
)

// stuckAfter is how long a window may wait for the brokers' acknowledgement, beyond
// what an election takes.
const stuckAfter = 5 * time.Second

// writes knows whether the brokers take what this probe writes. That they answer
// says less: with a full disk, or too few replicas of a topic, they go on answering.
type writes struct {
	mu      sync.Mutex
	windows uint64    // acknowledged when this was last asked
	since   time.Time // when one was first seen waiting after these; zero: none is
}

// stuck is told how many windows were acknowledged and whether one is waiting, and
// reports whether it has been for too long.
func (w *writes) stuck(windows uint64, isWaiting bool, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !isWaiting:
		w.since = time.Time{}
	case w.since.IsZero() || windows != w.windows:
		w.since = now
	}
	w.windows = windows
	return isWaiting && now.Sub(w.since) > stuckAfter
}
