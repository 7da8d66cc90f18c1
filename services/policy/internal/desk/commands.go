package desk

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/kit/replay"
)

var _ replay.Reader = (*Desk)(nil)

// Begin implements replay.Reader for the commands topic.
func (d *Desk) Begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replays = true
	d.engine.Forget()
	d.attacks.tracker.Forget()
	d.caught.Store(false)
}

// Records implements replay.Reader.
func (d *Desk) Records(records []*kgo.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, r := range records {
		if commands.IsTombstone(r.Value) {
			d.engine.Released(string(r.Key), earlier(r.Timestamp, now))
			d.attacks.tracker.Released(string(r.Key))
			continue
		}
		c, err := commands.Decode(r.Key, r.Value)
		if err != nil {
			continue // the probes report it
		}
		l := commands.NewLease(c, r.Offset, r.Timestamp, now)
		d.engine.Command(&l, now)
		if l.Live(now) {
			d.attacks.tracker.Command(&l, now)
		}
	}
}

// Skipped implements replay.Reader; the probes report it.
func (d *Desk) Skipped(_, _ int64, _ error) {}

// Position implements replay.Reader.
func (d *Desk) Position(_ int64, caughtUp bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if caughtUp {
		d.replays = false
		d.caught.Store(true)
	}
}

// earlier is when a record was written, by a broker whose clock may be ahead.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || a.After(b) {
		return b
	}
	return a
}
