package e2e_test

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/stack"
	"github.com/weir-net/weir/loadtest/watch"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/counts"
)

// followed is what the topics said, as any third party reads them.
type followed struct {
	mu      sync.Mutex
	counts  map[place]counts.Record
	attacks map[string]attacks.Record // by key, the last of each
	bad     []error
}

// place is where a record is on its topic.
type place struct {
	partition int32
	offset    int64
}

// followTopics reads the counts and the attacks topic from their start.
func followTopics(t *testing.T, s *scenario.Scenario) *followed {
	t.Helper()
	f := &followed{counts: map[place]counts.Record{}, attacks: map[string]attacks.Record{}}
	r, err := watch.Read(within(t, 10*time.Second), s.Stack.Brokers, map[string]func(watch.Record){
		s.Stack.Topics.Counts: func(x watch.Record) {
			c, err := counts.Decode(x.Value)
			f.take(err, func() { f.counts[place{x.Partition, x.Offset}] = c })
		},
		s.Stack.Topics.Attacks: func(x watch.Record) {
			a, err := attacks.Decode(x.Key, x.Value)
			f.take(err, func() { f.attacks[string(x.Key)] = a })
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		for _, err := range f.bad {
			t.Errorf("unreadable: %v", err)
		}
	})
	return f
}

func (f *followed) take(err error, keep func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err != nil {
		f.bad = append(f.bad, err)
		return
	}
	keep()
}

// at is the counts record at an offset.
func (f *followed) at(partition int32, offset int64) (counts.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.counts[place{partition, offset}]
	if !ok {
		return r, fmt.Errorf("of %d records none is at %d/%d", len(f.counts), partition, offset)
	}
	return r, nil
}

// attack is the last record under a key.
func (f *followed) attack(key string) (attacks.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r, ok := f.attacks[key]
	if !ok || len(f.attacks) != 1 {
		return r, fmt.Errorf("of %d attacks, %s is there: %v", len(f.attacks), key, ok)
	}
	return r, nil
}

// udpOf adds up what the windows say of a source that lie within the last second
// before end: those that are wholly in it, and those that reach into it. Wall
// clocks, unlike durations, are a little off.
func (f *followed) udpOf(boot string, source netip.Addr, end time.Time) (inside, touching uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	const off = 20 * time.Millisecond
	from := end.Add(-time.Second)
	for _, r := range f.counts {
		if r.BootID != boot || r.WindowEnd.After(end) || r.WindowEnd.Before(from.Add(-off)) {
			continue
		}
		for i := range r.Sources {
			if r.Sources[i].Address != source {
				continue
			}
			n := r.Sources[i].ByClass[schemas.ClassUDP]
			touching += n
			if r.WindowStart.After(from.Add(off)) {
				inside += n
			}
		}
	}
	return inside, touching
}

// checkCause holds the record that a decision names against the decision: it is
// of the interface, has the source in it, and with the windows of the second
// before it gives what was measured.
func checkCause(t *testing.T, f *followed, r *counts.Record, ev *commands.Evidence, source netip.Addr) {
	t.Helper()
	if r.Host != stack.Host || r.Interface != lab.DataInterface || r.Key() != ev.Interface || r.BootID != ev.BootID || r.Seq != ev.Seq || r.Totals == nil {
		t.Errorf("the record at %d/%d is window %d of %s, life %s; the evidence names %+v", ev.Partition, ev.Offset, r.Seq, r.Key(), r.BootID, ev)
	}
	inside, touching := f.udpOf(r.BootID, source, r.WindowEnd)
	if touching == 0 || float64(inside) > ev.Measured || float64(touching) < ev.Measured {
		t.Errorf("%.0f packets in 1 s were measured; the windows that the record ends have %d to %d of %v", ev.Measured, inside, touching, source)
	}
	for i := range r.Sources {
		if r.Sources[i].Address == source && r.Sources[i].ByClass[schemas.ClassUDP] > 0 {
			return
		}
	}
	t.Errorf("the record at %d/%d has no UDP of %v", ev.Partition, ev.Offset, source)
}

// fastest is the most that the interface received in any second.
func fastest(s *scenario.Scenario) (pps float64) {
	for _, x := range s.Rates.All() {
		pps = max(pps, x.Rates.PPS)
	}
	return pps
}
