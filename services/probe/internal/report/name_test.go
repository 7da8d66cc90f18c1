package report

import (
	"testing"
	"time"
)

// world is a status topic and the probes that read it, with a clock that only
// the test moves.
type world struct {
	t     *testing.T
	now   time.Time
	log   []entry
	all   map[string]*name
	told  map[string]int // events of each probe
	unfit bool           // the brokers do not answer
}

type entry struct {
	boot    string
	stopped bool
	at      time.Time
}

func newWorld(t *testing.T) *world {
	return &world{t: t, now: time.Unix(1_800_000_000, 0), all: map[string]*name{}, told: map[string]int{}}
}

// start lets a probe read what was written lately.
func (w *world) start(boot, former string) *name {
	n := &name{self: boot, former: former}
	n.restart()
	for _, e := range w.log {
		if w.now.Sub(e.at) < silence {
			n.take(e.boot, e.stopped, e.at, false, w.now)
		}
	}
	n.caught = true
	w.all[boot] = n
	return n
}

// write appends to the log, for all to read.
func (w *world) write(boot string, stopped bool) {
	w.log = append(w.log, entry{boot, stopped, w.now})
	for reader, n := range w.all {
		if n.take(boot, stopped, w.now, true, w.now) {
			w.told[reader]++
		}
	}
}

// pass lets seconds pass in which each probe publishes if it may.
func (w *world) pass(seconds int, order ...string) {
	for range seconds {
		w.now = w.now.Add(time.Second)
		for _, boot := range order {
			n := w.all[boot]
			if n == nil || !n.claimable(!w.unfit, w.now) || w.unfit {
				continue
			}
			if n.inherits() {
				w.write(n.former, true)
			}
			w.write(boot, false)
		}
	}
}

// holds checks that one probe publishes counts and no other.
func (w *world) holds(boot string) {
	w.t.Helper()
	for b, n := range w.all {
		if n.mine() != (b == boot) {
			w.t.Errorf("%s publishes: %v; want that only %s does", b, n.mine(), boot)
		}
	}
}

func (w *world) events(boot string, want int) {
	w.t.Helper()
	if w.told[boot] != want {
		w.t.Errorf("%s told of a duplicate %d times, want %d", boot, w.told[boot], want)
	}
}

func TestTheSecondYields(t *testing.T) {
	for _, late := range []int{0, 3, 60} {
		w := newWorld(t)
		w.start("a", "")
		w.pass(late+1, "a")
		w.start("b", "")
		w.pass(100, "b", "a")
		w.holds("a")
		w.events("a", 0)
		w.events("b", 1)
	}
}

// TestTogether: both read an empty topic and publish; the log decides.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	w.start("a", "")
	w.start("b", "")
	w.write("b", false)
	w.write("a", false)
	w.pass(100, "a", "b")
	w.holds("b")
	w.events("a", 1)
	w.events("b", 0)
}

func TestRestartAfterKillKeepsTheName(t *testing.T) {
	w := newWorld(t)
	w.start("a", "")
	w.pass(20, "a")
	w.start("b", "")
	w.pass(5, "a", "b")
	delete(w.all, "a")
	w.pass(3, "b")
	w.start("a2", "a")
	w.pass(1, "a2", "b")
	w.holds("a2")
	w.pass(100, "b", "a2")
	w.holds("a2")
	w.events("a2", 0)
	w.events("b", 1)
}

// TestLateWordsOfTheFormerLife: what the dead process had sent may arrive late,
// and another probe that has stopped lately is no reason to wait.
func TestLateWordsOfTheFormerLife(t *testing.T) {
	w := newWorld(t)
	w.start("b", "")
	w.pass(5, "b")
	w.write("b", true)
	delete(w.all, "b")
	w.start("a", "")
	w.pass(5, "a")
	delete(w.all, "a")
	w.start("a2", "a")
	w.write("a", false)
	w.pass(2, "a2")
	w.holds("a2")
	w.events("a2", 0)
}

func TestRestartInOrderKeepsTheName(t *testing.T) {
	w := newWorld(t)
	w.start("a", "")
	w.pass(20, "a")
	w.start("b", "")
	w.pass(5, "a", "b")
	w.write("a", true)
	delete(w.all, "a")
	w.pass(20, "b")
	w.start("a2", "") // its maps were removed
	w.pass(1, "b", "a2")
	w.holds("a2")
	w.events("b", 1)
}

// TestRebootWaits: without the former maps nobody can tell a probe from a
// duplicate of itself but by waiting, and nobody is told of a duplicate.
func TestRebootWaits(t *testing.T) {
	w := newWorld(t)
	w.start("a", "")
	w.pass(20, "a")
	delete(w.all, "a")
	w.pass(5)
	n := w.start("a2", "")
	w.pass(5, "a2")
	if n.mine() {
		t.Error("it publishes while the other may live")
	}
	w.pass(15, "a2")
	w.holds("a2")
	w.events("a2", 0)
}

func TestTheSecondTakesOverAtLast(t *testing.T) {
	w := newWorld(t)
	w.start("a", "")
	w.pass(20, "a")
	w.start("b", "")
	w.pass(5, "a", "b")
	delete(w.all, "a")
	w.pass(int(takeover/time.Second)-1, "b")
	if w.all["b"].mine() {
		t.Error("b takes over too early")
	}
	w.pass(2, "b")
	w.holds("b")
	w.start("a2", "a")
	w.pass(50, "a2", "b")
	w.holds("b")
	w.events("a2", 1)
}

// TestOutageKeepsTheName: while no broker answers, the other's silence means
// nothing.
func TestOutageKeepsTheName(t *testing.T) {
	w := newWorld(t)
	w.start("a", "")
	w.pass(20, "a")
	w.start("b", "")
	w.pass(5, "a", "b")
	w.unfit = true
	w.pass(60, "b", "a")
	w.unfit = false
	w.pass(1, "b", "a")
	w.holds("a")
	w.pass(100, "b", "a")
	w.holds("a")
	w.events("b", 1)
}

// TestBlind: a topic that cannot be read does not stop the counts, but for a
// probe that knows of another.
func TestBlind(t *testing.T) {
	n := &name{self: "a"}
	n.restart()
	if n.mine() || n.claimable(true, time.Now()) {
		t.Error("it publishes before it knows")
	}
	n.blind = true
	if !n.mine() || !n.claimable(true, time.Now()) {
		t.Error("it does not publish though nobody can tell")
	}
	n.yielded = "b"
	if n.mine() || n.claimable(true, time.Now()) {
		t.Error("it publishes though there is another")
	}
}
