package attacks

import (
	"cmp"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
)

// Rates takes one record of the table: how strong the interface's attacks are.
func (t *Tracker) Rates(r *rates.Record) {
	for _, a := range t.at[r.Key()] {
		a.measure(r)
	}
}

// Status takes what one interface's leases have dropped. mine says whether this
// instance decides for an interface: the others count for themselves. It is for
// when the attacks topic has been read: what was counted before, as the topic
// says, must not be counted again.
func (t *Tracker) Status(s *status.Record, mine func(name string) bool, now time.Time) {
	name := schemas.InterfaceKey(s.Host, s.Interface)
	if mine(name) {
		for _, a := range t.at[name] {
			if a.Mode != s.Mode {
				a.Mode, a.dirty, a.urgent = s.Mode, true, true
			}
		}
	}
	for i := range s.Filter.Drops {
		d := &s.Filter.Drops[i]
		l := t.leases[d.Key]
		if l == nil || l.id.Host != s.Host || !mine(schemas.InterfaceKey(l.id.Host, l.id.Interface)) {
			continue
		}
		if a := t.open[l.id]; a != nil {
			a.drops(l, name, d.Packets, d.Bytes, d.Would, now)
		}
	}
}

// Due ends what is over and returns what is to be written, in a fixed order. mine
// says whether this instance decides for an interface; for the others another
// one writes.
func (t *Tracker) Due(now time.Time, mine func(name string) bool) []Update {
	t.sweep(now)
	out := t.unwritten
	t.unwritten = nil
	for name, list := range t.at {
		ours := mine(name)
		for _, a := range list {
			over := len(a.leases) == 0 && now.Sub(a.seenAt) >= Linger && now.Sub(a.alertedAt) >= alertLinger
			switch {
			case over && !ours:
				if a.key == "" {
					t.forget(a) // nobody has told of it, and nobody will
				}
			case over:
				a.End = later(a.seenAt.UTC().Truncate(time.Millisecond), a.Start)
				out = append(out, a.write(now))
				t.forget(a)
			case ours && a.due(now):
				out = append(out, a.write(now))
			}
		}
	}
	slices.SortFunc(out, func(x, y Update) int { return cmp.Compare(x.Key, y.Key) })
	return out
}

// sweep takes out the leases that have lapsed. There may be many, and nothing
// hangs on the second.
func (t *Tracker) sweep(now time.Time) {
	if since := now.Sub(t.sweptAt); since >= 0 && since < time.Second {
		return
	}
	t.sweptAt = now
	for key, l := range t.leases {
		if !now.Before(l.expiresAt) {
			t.end(key, l)
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func (a *attack) write(now time.Time) Update {
	a.writtenAt, a.dirty, a.urgent, a.key = now, false, false, a.Key()
	return Update{Key: a.key, Record: a.record(now)}
}

// Failed takes back an update that could not be written.
func (t *Tracker) Failed(u *Update) {
	if a := t.open[u.Record.Identity()]; a != nil && a.key == u.Key && !u.Tombstone && !u.Record.Ended() {
		a.dirty, a.writtenAt = true, time.Time{}
		return
	}
	if len(t.unwritten) < maxUnwritten && (u.Tombstone || u.Record.Ended()) {
		t.unwritten = append(t.unwritten, *u)
	}
}

// Learn takes a record of the attacks topic: our own that comes back, another
// instance's, or one of an earlier life. mine says whether this instance decides
// for the interface.
func (t *Tracker) Learn(r *attacks.Record, mine bool) {
	a, key := t.open[r.Identity()], r.Key()
	switch {
	case r.Ended():
		if a != nil && a.key == key && (!mine || a.writtenAt.IsZero()) {
			t.over(a)
		}
	case a == nil:
		a = t.begin(*r, r.UpdatedAt)
		a.take(r)
	case a.key == "", a.key == key && (!mine || a.writtenAt.IsZero()):
		a.take(r)
	case a.key != key && r.Start.Before(a.Start):
		// Two instances told of one attack. The one that began first stands.
		if mine {
			t.unwritten = append(t.unwritten, Update{Key: a.key, Record: a.Record, Tombstone: true})
		}
		a.take(r)
		a.dirty = mine
	case a.key != key && mine:
		t.unwritten = append(t.unwritten, Update{Key: key, Record: *r, Tombstone: true})
	}
}

// over takes another instance's word that an attack has ended. Its leases, if
// there are any, begin another one.
func (t *Tracker) over(a *attack) {
	if len(a.leases) == 0 {
		t.forget(a)
		return
	}
	a.dirty = true // it goes on after all
}

// take goes on from what the topic says of the attack. What this instance has
// counted of a lease that the record counts as well is in there.
func (a *attack) take(r *attacks.Record) {
	extra := *r
	for _, l := range a.leases {
		was := attacks.Lease{}
		if i := slices.IndexFunc(r.Top, func(p attacks.Lease) bool { return p.Key == l.sum.Key }); i >= 0 {
			was = r.Top[i]
		}
		extra.Dropped += l.sum.Packets - min(l.sum.Packets, was.Packets)
		extra.Bytes += l.sum.Bytes - min(l.sum.Bytes, was.Bytes)
		extra.Would += l.sum.Would - min(l.sum.Would, was.Would)
		l.sum.Packets, l.sum.Bytes, l.sum.Would = max(l.sum.Packets, was.Packets), max(l.sum.Bytes, was.Bytes), max(l.sum.Would, was.Would)
	}
	a.past = a.past[:0]
	for _, p := range r.Top {
		if a.leases[p.Key] == nil {
			a.past = append(a.past, p)
		}
	}
	extra.PeakPPS, extra.PeakBPS = max(a.PeakPPS, r.PeakPPS), max(a.PeakBPS, r.PeakBPS)
	extra.Sources, extra.Leases = max(a.Sources, r.Sources), max(a.Leases, r.Leases)
	if a.Action.Strength() > r.Action.Strength() {
		extra.Action = a.Action
	}
	extra.Top = nil
	a.Record, a.key = extra, r.Key()
	a.seenAt = later(a.seenAt, r.UpdatedAt)
	a.dirty = false
}

// Dropped takes a tombstone of the attacks topic.
func (t *Tracker) Dropped(key string) {
	id, _, err := attacks.ParseKey(key)
	if err != nil {
		return
	}
	if a := t.open[id]; a != nil && a.key == key {
		if len(a.leases) == 0 {
			t.forget(a)
			return
		}
		a.key, a.dirty, a.writtenAt = "", true, time.Time{}
	}
}

// Anew prepares for reading the attacks topic from its start: what it turns out
// not to have is to be written.
func (t *Tracker) Anew() {
	for _, a := range t.open {
		a.key, a.dirty, a.writtenAt = "", true, time.Time{}
	}
}
