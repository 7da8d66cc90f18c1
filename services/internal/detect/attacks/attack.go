package attacks

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/rates"
)

// add puts a lease into the attack.
func (a *attack) add(l *lease, now time.Time) {
	known := a.restore(l)
	a.leases[l.sum.Key] = l
	a.act(l.command.Action)
	a.seenAt, a.dirty = now, true
	if !l.inherited || a.key == "" {
		a.Leases++
		if l.command.Match.Source.IsValid() && !known {
			a.Sources++
		}
	}
	if p := l.command.Match.Source; p.IsValid() {
		a.prefixes[p] = l
		if !slices.Contains(a.lengths, p.Bits()) {
			a.lengths = append(a.lengths, p.Bits())
		}
	}
}

// restore takes up the counters that are remembered of a lease: of an earlier one
// under its key, or those that another instance wrote.
func (a *attack) restore(l *lease) bool {
	i := slices.IndexFunc(a.past, func(p attacks.Lease) bool { return p.Key == l.sum.Key })
	if i < 0 {
		return false
	}
	l.sum = a.past[i]
	a.past = slices.Delete(a.past, i, i+1)
	return true
}

func (a *attack) remove(key string, l *lease) {
	delete(a.leases, key)
	if p := l.command.Match.Source; a.prefixes[p] == l {
		delete(a.prefixes, p)
	}
	a.past = heaviest(append(a.past, l.sum))
	a.dirty = true
}

// heaviest leaves the leases that dropped most.
func heaviest(all []attacks.Lease) []attacks.Lease {
	slices.SortFunc(all, func(x, y attacks.Lease) int {
		return cmp.Or(cmp.Compare(y.Packets+y.Would, x.Packets+x.Would), cmp.Compare(x.Key, y.Key))
	})
	return all[:min(len(all), attacks.MaxTop)]
}

// act notes what was ordered: the strongest counts.
func (a *attack) act(action commands.Action) {
	if action.Strength() > a.Action.Strength() && action != commands.Allow {
		a.Action, a.dirty, a.urgent = action, true, true
	}
}

// due reports whether the attack is to be written.
func (a *attack) due(now time.Time) bool {
	if !a.dirty {
		return false
	}
	every := min(slowest, max(updateEvery, now.Sub(a.Start)/10))
	if a.urgent {
		every = updateEvery
	}
	return a.writtenAt.IsZero() || now.Sub(a.writtenAt) >= every
}

// record returns the attack as the topic is to have it.
func (a *attack) record(now time.Time) attacks.Record {
	r := a.Record
	r.UpdatedAt = now.UTC().Truncate(time.Millisecond)
	// An instance that is gone may have had no time to tell of its last leases.
	r.Leases, r.Sources = max(r.Leases, len(a.leases)), max(r.Sources, uint64(len(a.prefixes)))
	all := slices.Clone(a.past)
	for _, l := range a.leases {
		all = append(all, l.sum)
	}
	r.Top = slices.Clone(heaviest(all))
	return r
}

// drops takes the cumulative counters of a lease at one interface.
func (a *attack) drops(l *lease, name string, packets, bytes, would uint64, now time.Time) {
	seen := l.seen[name]
	if seen == nil {
		seen = &attacks.Lease{}
		l.seen[name] = seen
		switch {
		case !l.inherited: // all of it is of this attack
		case l.sum.Packets+l.sum.Would > 0 && len(l.seen) == 1:
			*seen = l.sum // another instance had counted so far
		case len(a.past)+len(a.leases) > attacks.MaxTop:
			// The record had no room for this lease: what it has dropped before is
			// in the sums, and how much that is nobody knows.
			*seen = attacks.Lease{Packets: packets, Bytes: bytes, Would: would}
		}
	}
	if packets < seen.Packets || would < seen.Would || bytes < seen.Bytes {
		*seen = attacks.Lease{} // the probe made the entry anew
	}
	p, b, w := packets-seen.Packets, bytes-seen.Bytes, would-seen.Would
	*seen = attacks.Lease{Packets: packets, Bytes: bytes, Would: would}
	if p+w == 0 {
		return
	}
	l.sum.Packets += p
	l.sum.Bytes += b
	l.sum.Would += w
	a.Dropped += p
	a.Bytes += b
	a.Would += w
	a.seenAt, a.dirty = now, true
}

// measure looks for the attack in the rates: how strong it is.
func (a *attack) measure(r *rates.Record) {
	var pps, bps float64
	if a.Destination.IsValid() {
		pps, bps = a.victim(r)
	} else {
		for i := range r.Top {
			s := &r.Top[i]
			if l := a.leaseOn(s.Source); l != nil {
				share := covered(&l.command.Match, &s.Window1s)
				pps += s.PPS * share
				bps += s.BPS * share
			}
		}
	}
	if pps > a.PeakPPS {
		a.PeakPPS, a.dirty = pps, true
	}
	if bps > a.PeakBPS {
		a.PeakBPS, a.dirty = bps, true
	}
}

// leaseOn returns the lease that names a source, or nil.
func (a *attack) leaseOn(source netip.Addr) *lease {
	for _, bits := range a.lengths {
		if p, err := source.Prefix(bits); err == nil {
			if l := a.prefixes[p]; l != nil {
				return l
			}
		}
	}
	return nil
}

// victim measures what goes to the victim over all of the attack's signatures,
// and estimates from how many sources.
func (a *attack) victim(r *rates.Record) (pps, bps float64) {
	var sources uint64
	for i := range r.Victims {
		v := &r.Victims[i]
		for _, l := range a.leases {
			if !signs(&l.command.Match, v) {
				continue
			}
			pps += float64(v.Packets1s)
			bps += float64(v.Bytes1s) * 8
			sources += estimate(r, v)
			break
		}
	}
	if sources > a.Sources {
		a.Sources, a.dirty = sources, true
	}
	return pps, bps
}
