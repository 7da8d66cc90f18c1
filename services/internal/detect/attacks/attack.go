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

// ended is a lease that is no longer live, or that only the topic has told of.
type ended struct {
	attacks.Lease
	here bool // its end was seen here: what comes under its key is another entry
}

// maxPast bounds the ended leases that are remembered one by one.
const maxPast = 256

// restore takes up what is remembered of a lease under its key.
func (a *attack) restore(l *lease) bool {
	i := slices.IndexFunc(a.past, func(p ended) bool { return p.Key == l.sum.Key })
	if i < 0 {
		return false
	}
	l.sum = a.past[i].Lease
	if a.past[i].here || !l.inherited {
		l.base = l.sum
	}
	a.past = slices.Delete(a.past, i, i+1)
	return true
}

func (a *attack) remove(key string, l *lease) {
	delete(a.leases, key)
	if p := l.command.Match.Source; a.prefixes[p] == l {
		delete(a.prefixes, p)
	}
	a.past = append(a.past, ended{Lease: l.sum, here: true})
	a.forgetLightest()
	a.dirty = true
}

// forgetLightest leaves the ended leases that dropped most. What the others
// dropped stays in the attack's sums.
func (a *attack) forgetLightest() {
	if len(a.past) > maxPast {
		slices.SortFunc(a.past, func(x, y ended) int { return compareLeases(x.Lease, y.Lease) })
		a.past = a.past[:maxPast]
	}
}

// compareLeases orders leases by what they dropped, the most first.
func compareLeases(x, y attacks.Lease) int {
	return cmp.Or(cmp.Compare(y.Packets+y.Would, x.Packets+x.Would), cmp.Compare(x.Key, y.Key))
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
	all := make([]attacks.Lease, 0, len(a.past)+len(a.leases))
	for i := range a.past {
		all = append(all, a.past[i].Lease)
	}
	for _, l := range a.leases {
		all = append(all, l.sum)
	}
	slices.SortFunc(all, compareLeases)
	r.Top = slices.Clone(all[:min(len(all), attacks.MaxTop)])
	return r
}

// drops takes the cumulative counters of a lease at one interface.
func (a *attack) drops(l *lease, name string, packets, bytes, would uint64, now time.Time) {
	seen := l.seen[name]
	if seen == nil {
		seen = &attacks.Lease{}
		l.seen[name] = seen
	}
	if packets < seen.Packets || would < seen.Would || bytes < seen.Bytes {
		l.base = plus(l.base, *seen) // the probe made the entry anew
	}
	*seen = attacks.Lease{Packets: packets, Bytes: bytes, Would: would}
	all := l.base
	for _, x := range l.seen {
		all = plus(all, *x)
	}
	if a.raise(&l.sum, all) {
		a.seenAt, a.dirty = now, true
	}
}

func plus(x, y attacks.Lease) attacks.Lease {
	x.Packets += y.Packets
	x.Bytes += y.Bytes
	x.Would += y.Would
	return x
}

// raise brings what is known of one lease up to a newer figure, and the attack's
// sums with it. It reports whether packets were dropped since.
func (a *attack) raise(sum *attacks.Lease, to attacks.Lease) bool {
	up := func(n *uint64, to uint64, total *uint64) bool {
		if to <= *n {
			return false
		}
		*total += to - *n
		*n = to
		return true
	}
	packets := up(&sum.Packets, to.Packets, &a.Dropped)
	up(&sum.Bytes, to.Bytes, &a.Bytes)
	would := up(&sum.Would, to.Would, &a.Would)
	return packets || would
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
