package live

import (
	"testing"
	"time"

	"github.com/weir-net/weir/schemas/rates"
)

// stamped tells the hub of a record that the broker stamped at a moment.
func (f *fixture) stamped(at time.Time) {
	f.t.Helper()
	f.seq++
	r := rates.Record{Host: "a", Interface: "eth0", BootID: "b", Seq: f.seq, Complete: true}
	value, err := rates.Encode(r)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.Rates(r.Key(), value, at); err != nil {
		f.t.Fatal(err)
	}
	f.Step()
}

// The brokers' clock differs from ours: what they stamp is not old for that.
func TestClockSkew(t *testing.T) {
	for name, behind := range map[string]time.Duration{"behind": time.Minute, "ahead": -time.Minute, "the same": 0} {
		t.Run(name, func(t *testing.T) {
			f := hub(t)
			c, err := f.Subscribe()
			if err != nil {
				t.Fatal(err)
			}
			age := func() time.Duration {
				t.Helper()
				row := last(t, drain(c), "delta")["rows"].([]any)[0].([]any)
				return time.Duration(row[6].(float64)) * time.Millisecond
			}
			// What the topic holds is old, whatever the clock.
			f.stamped(f.now.Add(-behind - 40*time.Second))
			if got := age(); behind == 0 && got != 40*time.Second {
				t.Errorf("a record of 40 s ago is %v old", got)
			}
			f.SetLink(Link{Up: true, CaughtUp: true})
			for _, took := range []time.Duration{300 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond} {
				f.now = f.now.Add(time.Second)
				f.stamped(f.now.Add(-behind - took))
			}
			frames := drain(c)
			told, _ := last(t, frames, "link")["clock_behind_ms"].(float64)
			if d := time.Duration(told)*time.Millisecond - behind; d.Abs() > time.Second {
				t.Errorf("told that the clock is %v ms behind, want about %v", told, behind)
			}
			f.now = f.now.Add(time.Second)
			f.stamped(f.now.Add(-behind - 200*time.Millisecond))
			if got := age(); got > 500*time.Millisecond {
				t.Errorf("a record of just now is %v old", got)
			}
			// And then nothing comes any more.
			f.now = f.now.Add(20 * time.Second)
			f.Watch(c.ID, []uint32{1})
			f.Step()
			if got := last(t, drain(c), "detail")["age_ms"].(float64); got < 19_000 {
				t.Errorf("after 20 s of silence the age is %v ms", got)
			}
		})
	}
}

// A clock that is set right is noticed: the guess is of the last minute.
func TestSkewForgets(t *testing.T) {
	var s skew
	now := start
	for range 50 {
		now = now.Add(time.Second)
		s.note(time.Minute, now)
	}
	if got := s.behind(); got != time.Minute {
		t.Errorf("behind by %v, want a minute", got)
	}
	for range 3 {
		now = now.Add(time.Second)
		s.note(100*time.Millisecond, now)
	}
	if got := s.behind(); got != 0 {
		t.Errorf("set right, but behind by %v", got)
	}
	for range 80 {
		now = now.Add(time.Second)
		s.note(time.Hour, now)
	}
	if got := s.behind(); got != time.Hour {
		t.Errorf("set back, but behind by %v", got)
	}
}
