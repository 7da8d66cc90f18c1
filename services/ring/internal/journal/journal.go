// Package journal keeps the latest events in a ring of fixed size.
package journal

import (
	"time"

	"github.com/weir-net/weir/schemas/events"
)

// Limit is how many events are kept.
const Limit = 500

// Entry is one event and when the broker had it.
type Entry struct {
	Number uint64 // counts from 1
	At     time.Time
	events.Record
}

// Journal holds the last Limit events. Its methods must not run at once.
type Journal struct {
	entries []Entry
	count   uint64
}

// Apply takes one record of the events topic; at is the broker's timestamp.
func (j *Journal) Apply(value []byte, at time.Time) error {
	r, err := events.Decode(value)
	if err != nil {
		return err
	}
	j.count++
	j.entries = append(j.entries, Entry{Number: j.count, At: at, Record: r})
	if len(j.entries) >= 2*Limit {
		j.entries = append([]Entry(nil), j.entries[len(j.entries)-Limit:]...)
	}
	return nil
}

// Count is how many events there ever were.
func (j *Journal) Count() uint64 { return j.count }

// Since returns the events after the one with the number, oldest first.
func (j *Journal) Since(number uint64) []Entry {
	kept := j.entries[max(0, len(j.entries)-Limit):]
	for len(kept) > 0 && kept[0].Number <= number {
		kept = kept[1:]
	}
	return kept
}
