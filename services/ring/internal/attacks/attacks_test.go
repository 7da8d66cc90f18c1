package attacks

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
)

var start = time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)

func record(rule string, at time.Time) attacks.Record {
	return attacks.Record{Host: "edge-1", Interface: "eth0", Rule: rule, Vector: "flood", Start: at, UpdatedAt: at, PeakPPS: 5, Action: commands.Drop, Mode: "enforce"}
}

func put(t *testing.T, s *Set, r attacks.Record) string {
	t.Helper()
	key, value, err := attacks.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(key, value); err != nil {
		t.Fatal(err)
	}
	return string(key)
}

func keys(list []Entry) []string {
	out := make([]string, 0, len(list))
	for _, e := range list {
		out = append(out, e.Key)
	}
	return out
}

func TestAttacksBeginChangeAndEnd(t *testing.T) {
	s := New()
	old := put(t, s, record("R1", start))
	young := record("S1", start.Add(time.Minute))
	young.Destination = netip.MustParseAddr("192.0.2.80")
	second := put(t, s, young)
	all, gone := s.Since(0)
	if want := []string{second, old}; !slices.Equal(keys(all), want) || len(gone) != 0 {
		t.Fatalf("%v and gone %v, want %v", keys(all), gone, want)
	}
	seen := s.Version()
	young.End, young.PeakPPS = start.Add(2*time.Minute), 900
	put(t, s, young)
	changed, _ := s.Since(seen)
	if len(changed) != 1 || changed[0].Key != second || !changed[0].Ended() || changed[0].PeakPPS != 900 {
		t.Errorf("changed: %+v", changed)
	}
	if all, _ := s.Since(0); keys(all)[0] != old {
		t.Errorf("the one that goes on is not first: %v", keys(all))
	}
	seen = s.Version()
	if err := s.Apply([]byte(old), nil); err != nil {
		t.Fatal(err)
	}
	if changed, gone := s.Since(seen); len(changed) != 0 || !slices.Equal(gone, []string{old}) {
		t.Errorf("after a tombstone: %v, gone %v", changed, gone)
	}
	s.Told()
	if _, gone := s.Since(0); len(gone) != 0 {
		t.Errorf("still gone: %v", gone)
	}
}

func TestTheOldestThatAreOverMakeRoom(t *testing.T) {
	s := New()
	first := put(t, s, record("going-on", start))
	for i := range 2 * Limit {
		r := record(fmt.Sprintf("R%d", i), start.Add(time.Duration(i+1)*time.Second))
		r.End = r.Start.Add(time.Second)
		put(t, s, r)
		if i%100 == 0 {
			s.Told()
		}
	}
	all, _ := s.Since(0)
	if len(all) != Limit || all[0].Key != first || all[1].Rule != fmt.Sprintf("R%d", 2*Limit-1) {
		t.Errorf("%d kept, first %v", len(all), keys(all)[:2])
	}
}

func TestBadRecordsChangeNothing(t *testing.T) {
	s := New()
	key := put(t, s, record("R1", start))
	seen := s.Version()
	if err := s.Apply([]byte(key), []byte(`{"v":1}`)); err == nil {
		t.Error("a record without anything was taken")
	}
	if err := s.Apply([]byte("another"), nil); err != nil || s.Version() != seen {
		t.Errorf("a tombstone of what is not known: %v, version %d", err, s.Version())
	}
}
