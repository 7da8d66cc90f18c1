package engine

import (
	"encoding/binary"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/baselines"
)

const (
	// atOnce bounds what Remember returns, so that ten thousand interfaces do not
	// all come with one call.
	atOnce = 256
	// forgottenAfter is when what was remembered of an interface is worth nothing
	// any more: as long as the topic keeps it.
	forgottenAfter = 24 * time.Hour
)

// Remember returns what has been learned of interfaces for which mine holds,
// of each at most once in every, to be handed to Recall of another engine.
func (e *Engine) Remember(mine func(name string) bool, every time.Duration, now time.Time) []baselines.Record {
	var out []baselines.Record
	for _, w := range e.watched {
		if len(out) == atOnce {
			break
		}
		if now.Sub(w.rememberedAt) < every || !w.usual.sampledAt.After(w.rememberedAt) || !mine(w.name) {
			continue
		}
		w.rememberedAt = now
		out = append(out, w.remember(now))
	}
	return out
}

// Recall takes what an engine has learned of an interface. Of what is known
// already, that counts which was learned for longer.
func (e *Engine) Recall(r *baselines.Record, now time.Time) {
	if now.Sub(r.UpdatedAt) >= forgottenAfter {
		return
	}
	name := interfaceName{r.Host, r.Interface}
	if w := e.watched[name]; w != nil {
		w.recall(r, now)
		return
	}
	e.recalled[name] = r
}

// remember says what is known of an interface.
func (w *watched) remember(now time.Time) baselines.Record {
	b, g := &w.usual, &w.regulars
	r := baselines.Record{Host: w.host, Interface: w.ifname, UpdatedAt: now, Quiet: uint64(b.quiet / time.Second), Classes: map[string]baselines.Class{}}
	for c := range b.classes {
		x := &b.classes[c]
		last := len(x.seen)
		for last > 0 && x.seen[last-1] == 0 {
			last--
		}
		if last > 0 {
			r.Classes[schemas.Class(c).String()] = baselines.Class{Average: x.ewma, Seconds: append([]uint16{}, x.seen[:last]...)}
		}
	}
	if !g.currentAt.IsZero() {
		r.Sources = &baselines.Sources{Since: g.currentAt, Current: g.current.bytes(), Before: g.before.bytes()}
	}
	return r
}

// recall goes on from a record.
func (w *watched) recall(r *baselines.Record, now time.Time) {
	b, g := &w.usual, &w.regulars
	quiet := time.Duration(r.Quiet) * time.Second
	if quiet <= b.quiet {
		return
	}
	b.quiet = quiet
	for c := range b.classes {
		x, known := classBaseline{}, r.Classes[schemas.Class(c).String()]
		x.ewma = known.Average
		for i := range min(len(known.Seconds), len(x.seen)) {
			x.seen[i] = known.Seconds[i]
			x.total += uint32(known.Seconds[i])
		}
		b.classes[c] = x
	}
	if s := r.Sources; s != nil && now.Sub(s.Since) < 2*halfHour {
		current := bloomOf(s.Current)
		g.current.merge(&current)
		before := bloomOf(s.Before)
		g.before.merge(&before)
		g.currentAt = s.Since
	}
}

// bytes is the filter as records have it: nothing if it is empty.
func (b *bloom) bytes() []byte {
	if *b == (bloom{}) {
		return nil
	}
	out := make([]byte, 0, baselines.FilterBytes)
	for _, word := range b {
		out = binary.LittleEndian.AppendUint64(out, word)
	}
	return out
}

func bloomOf(all []byte) (b bloom) {
	for i := range min(len(b), len(all)/8) {
		b[i] = binary.LittleEndian.Uint64(all[8*i:])
	}
	return b
}
