package attacks

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/status"
)

// world is several instances that share two topics: they read them late, hand
// the interface to each other, crash and come back. What the probe drops is the
// truth.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	now     time.Time
	told    []Update          // the attacks topic
	ordered []commands.Lease  // the commands topic
	dropped map[string]uint64 // by lease, cumulative
	all     []*instance
	owner   int
}

type instance struct {
	*Tracker
	told, ordered int // how far it has read
}

func (w *world) mine(i int) func(string) bool { return func(string) bool { return w.owner == i } }

// read lets an instance read n records of each topic.
func (w *world) read(i, n int) {
	x := w.all[i]
	for ; n > 0; n-- {
		if x.ordered < len(w.ordered) {
			l := w.ordered[x.ordered]
			x.ordered++
			if l.Live(w.now) {
				x.Command(&l, w.now)
			}
		}
		if x.told < len(w.told) {
			u := w.told[x.told]
			x.told++
			if u.Tombstone {
				x.Dropped(u.Key)
			} else {
				x.Learn(&u.Record, w.owner == i)
			}
		}
	}
}

// compacted is what the attacks topic comes down to.
func (w *world) compacted() map[string]attacks.Record {
	out := map[string]attacks.Record{}
	for _, u := range w.told {
		if u.Tombstone {
			delete(out, u.Key)
		} else {
			out[u.Key] = u.Record
		}
	}
	return out
}

// crash begins an instance anew, as the desk does.
func (w *world) crash(i int) {
	x := &instance{Tracker: New(), told: len(w.told), ordered: len(w.ordered)}
	w.all[i] = x
	for _, l := range w.ordered {
		if l.Live(w.now) {
			x.Command(&l, w.now)
		}
	}
	all := w.compacted()
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if r := all[key]; !r.Ended() {
			x.Learn(&r, w.owner == i)
		}
	}
}

// tell lets an instance write what is due; now and then a broker refuses it.
func (w *world) tell(i int) {
	for _, u := range w.all[i].Due(w.now, w.mine(i)) {
		if w.rng.IntN(10) == 0 {
			w.all[i].Failed(&u)
			continue
		}
		w.told = append(w.told, u)
	}
}

func (w *world) report() {
	var drops []status.LeaseDrops
	for _, key := range slices.Sorted(maps.Keys(w.dropped)) {
		drops = append(drops, status.LeaseDrops{Key: key, Packets: w.dropped[key]})
	}
	for i, x := range w.all {
		x.Status(dropping("enforce", drops...), w.mine(i), w.now)
	}
}

func (w *world) step() {
	w.now = w.now.Add(time.Duration(w.rng.IntN(400)) * time.Millisecond)
	i := w.rng.IntN(len(w.all))
	switch w.rng.IntN(12) {
	case 0:
		if len(w.dropped) < attacks.MaxTop {
			d := order(w.t, "R1", fmt.Sprintf("203.0.113.%d/32", len(w.dropped)), commands.Drop)
			d.Command.TTL = 24 * time.Hour
			w.all[w.owner].Decided(&d, w.now, w.now)
			w.ordered = append(w.ordered, commands.NewLease(d.Command, int64(len(w.ordered)), w.now.Add(3*time.Millisecond), w.now.Add(3*time.Millisecond)))
			w.dropped[d.Key] = 0
		}
	case 1, 2, 3:
		for key := range w.dropped {
			w.dropped[key] += uint64(w.rng.IntN(100))
		}
		w.report()
	case 4, 5, 6:
		for j := range w.all {
			w.tell(j)
		}
	case 7, 8, 9:
		w.read(i, 1+w.rng.IntN(5))
	case 10:
		if w.owner = i; w.rng.IntN(2) == 0 {
			w.read(i, 1000)
		}
	case 11:
		if w.rng.IntN(3) == 0 {
			w.crash(i)
		}
	}
}

// TestInstancesAgree: whatever happens to them, in the end there is one record of
// the attack, and it tells of every packet once.
func TestInstancesAgree(t *testing.T) {
	for seed := range uint64(300) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 9)), now: begin, dropped: map[string]uint64{}}
		for range 3 {
			w.all = append(w.all, &instance{Tracker: New()})
		}
		for range 300 {
			w.step()
		}
		for range 8 { // everybody reads everything, and says what there is to say
			w.now = w.now.Add(11 * time.Second)
			w.report()
			for i := range w.all {
				w.read(i, 10_000)
				w.tell(i)
			}
		}
		var truth uint64
		for _, n := range w.dropped {
			truth += n
		}
		var records []string
		var told uint64
		leases := 0
		for key, r := range w.compacted() {
			told += r.Dropped
			leases = r.Leases
			records = append(records, fmt.Sprintf("%s: %d packets, %d leases, ended %v", key, r.Dropped, r.Leases, r.Ended()))
		}
		if want := min(1, len(w.dropped)); len(records) != want || told != truth || want > 0 && leases != len(w.dropped) {
			t.Errorf("seed %d: %d packets were dropped by %d leases, told is of %q", seed, truth, len(w.dropped), records)
		}
	}
}
