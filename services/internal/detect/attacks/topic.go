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
			if ours {
				out = append(out, a.takeBack(now)...)
			}
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

// takeBack returns tombstones for the attack's other records, until they have come
// back.
func (a *attack) takeBack(now time.Time) []Update {
	var out []Update
	for key, at := range a.doubles {
		if now.Sub(at) >= slowest {
			a.doubles[key] = now
			out = append(out, Update{Key: key, Record: a.Record, Tombstone: true})
		}
	}
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
	a := t.open[u.Record.Identity()]
	switch {
	case a != nil && u.Tombstone:
		if _, ok := a.doubles[u.Key]; ok {
			a.doubles[u.Key] = time.Time{}
		}
	case a != nil && a.key == u.Key && !u.Record.Ended():
		a.dirty, a.writtenAt = true, time.Time{}
	case (u.Tombstone || u.Record.Ended()) && len(t.unwritten) < maxUnwritten:
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
		a = t.begin(attacks.Record{Host: r.Host, Interface: r.Interface, Rule: r.Rule, Destination: r.Destination, Start: r.Start}, r.UpdatedAt)
		a.take(r)
	case a.key == "", a.key == key:
		a.take(r) // if somebody else has overwritten what is known here, it is due again
	case a.key != key && r.Start.Before(a.Start):
		// Two instances told of one attack. The one that began first stands.
		delete(a.doubles, key)
		a.doubles[a.key] = time.Time{}
		a.take(r)
		a.dirty = true
	case a.key != key:
		a.doubles[key] = time.Time{}
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

// take goes on from what the topic says of the attack. Of each lease the larger
// figure holds, so that nothing that both have counted counts twice.
func (a *attack) take(r *attacks.Record) {
	mine := map[string]*attacks.Lease{}
	for key, l := range a.leases {
		mine[key] = &l.sum
	}
	for i := range a.past {
		mine[a.past[i].Key] = &a.past[i].Lease
	}
	a.rest(r, mine)
	var more []ended
	for _, theirs := range r.Top {
		if sum := mine[theirs.Key]; sum != nil {
			a.raise(sum, theirs)
			continue
		}
		x := ended{Lease: attacks.Lease{Key: theirs.Key}}
		a.raise(&x.Lease, theirs)
		more = append(more, x)
	}
	a.past = append(a.past, more...)
	a.forgetLightest()
	a.PeakPPS, a.PeakBPS = max(a.PeakPPS, r.PeakPPS), max(a.PeakBPS, r.PeakBPS)
	a.Sources, a.Leases = max(a.Sources, r.Sources), max(a.Leases, r.Leases)
	if r.Action.Strength() > a.Action.Strength() {
		a.Action = r.Action
	}
	a.Start, a.Vector, a.Evidence, a.key = r.Start, r.Vector, r.Evidence, r.Key()
	if a.Mode == "" {
		a.Mode = r.Mode
	}
	a.seenAt, a.dirty = later(a.seenAt, r.UpdatedAt), !a.saidBy(r)
}

// saidBy reports whether a record says all that is known.
func (a *attack) saidBy(r *attacks.Record) bool {
	n := a.record(r.UpdatedAt)
	return n.Dropped == r.Dropped && n.Bytes == r.Bytes && n.Would == r.Would && n.Leases == r.Leases && n.Sources == r.Sources &&
		n.Action == r.Action && n.Mode == r.Mode && n.PeakPPS == r.PeakPPS && n.PeakBPS == r.PeakBPS
}

// rest adds what a record counts of leases that it does not name, as far as this
// tracker does not know them by name.
func (a *attack) rest(r *attacks.Record, mine map[string]*attacks.Lease) {
	theirs := attacks.Lease{Packets: r.Dropped, Bytes: r.Bytes, Would: r.Would}
	ours := attacks.Lease{Packets: a.Dropped, Bytes: a.Bytes, Would: a.Would}
	named := map[string]bool{}
	for _, l := range r.Top {
		theirs = minus(theirs, l)
		named[l.Key] = true
	}
	for key, sum := range mine {
		ours = minus(ours, *sum)
		if !named[key] {
			theirs = minus(theirs, *sum)
		}
	}
	a.raise(&ours, theirs)
}

// minus takes y off x, down to nothing.
func minus(x, y attacks.Lease) attacks.Lease {
	x.Packets -= min(x.Packets, y.Packets)
	x.Bytes -= min(x.Bytes, y.Bytes)
	x.Would -= min(x.Would, y.Would)
	return x
}

// Dropped takes a tombstone of the attacks topic.
func (t *Tracker) Dropped(key string) {
	id, _, err := attacks.ParseKey(key)
	if err != nil {
		return
	}
	a := t.open[id]
	if a != nil {
		delete(a.doubles, key)
	}
	if a != nil && a.key == key {
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
