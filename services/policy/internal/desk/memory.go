package desk

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/baselines"
	"github.com/weir-net/weir/services/internal/kit/kafka"
	"github.com/weir-net/weir/services/internal/kit/replay"
)

// recallWait is how long decisions wait for what is usual to be read at the
// start. A topic that cannot be read must not leave anybody unprotected.
const recallWait = 3 * time.Second

// memory is what the desk keeps of the baselines topic.
type memory struct {
	recalled  bool      // all that the topic held at the start has been read
	waitUntil time.Time // for that
	renewal   kafka.Renewal
}

// waits reports whether decisions are to wait for the memory.
func (m *memory) waits(now time.Time) bool { return !m.recalled && now.Before(m.waitUntil) }

// Memory writes what the engine learns of the interfaces that this instance
// decides for, and reads what it and others have written, until ctx ends: who
// starts, or takes an interface over, goes on from that.
func (d *Desk) Memory(ctx context.Context) error {
	d.mu.Lock()
	d.memory.waitUntil = time.Now().Add(recallWait)
	d.mu.Unlock()
	return d.readAndWrite(ctx, d.Topics.Baselines, (*memoryReader)(d), min(time.Second, d.RememberEvery), d.remember)
}

// remember writes what is due. What a broker does not take is written next time:
// by then more is known.
func (d *Desk) remember(ctx context.Context, now time.Time) {
	d.memory.renewal.Renew(d.Client, d.Topics.Baselines)
	d.mu.Lock()
	var due []baselines.Record
	if d.memory.recalled {
		due = d.engine.Remember(d.decidesFor, d.RememberEvery, now)
	}
	d.mu.Unlock()
	for i := range due {
		key, value, err := baselines.Encode(due[i])
		if err != nil {
			d.stats.MemoryFailed.Add(1)
			d.Log.Error("encoding a baseline", "interface", due[i].Key(), "error", err)
			continue
		}
		d.Client.TryProduce(ctx, kafka.Record(d.Topics.Baselines, schemas.SchemaBaselines, key, value), func(_ *kgo.Record, err error) {
			if err == nil {
				d.stats.MemoryWritten.Add(1)
				return
			}
			d.stats.MemoryFailed.Add(1)
			d.memory.renewal.Note(err)
		})
	}
}

// memoryReader is the desk as it reads the baselines topic.
type memoryReader Desk

var _ replay.Reader = (*memoryReader)(nil)

// Begin implements replay.Reader. What is known stays: the topic only adds to it.
func (d *memoryReader) Begin() {}

// Records implements replay.Reader.
func (d *memoryReader) Records(records []*kgo.Record) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, r := range records {
		if len(r.Value) == 0 {
			continue // somebody forgot an interface; who decides for it knows better
		}
		b, err := baselines.Decode(r.Key, r.Value)
		if err != nil {
			(*Desk)(d).bad(r, err)
			continue
		}
		d.engine.Recall(&b, now)
	}
}

// Skipped implements replay.Reader.
func (d *memoryReader) Skipped(_, _ int64, _ error) {}

// Position implements replay.Reader.
func (d *memoryReader) Position(_ int64, caughtUp bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.memory.recalled = d.memory.recalled || caughtUp
}
