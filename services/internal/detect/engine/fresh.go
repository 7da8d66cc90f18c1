package engine

import "time"

// fresh tells records of the present from old ones by a clock that may be wrong:
// that of the probe's host. A backlog that is worked off comes faster than it
// was written, so that its lag shrinks; the lag of a wrong clock stays.
type fresh struct {
	lag        time.Duration
	from, last time.Time // for how long it has stayed
}

// sameLag is how much a lag may waver and still be called the same.
const sameLag = time.Second

// is reports whether a record that bears the time at is one of the present.
func (f *fresh) is(at, now time.Time) bool {
	lag := now.Sub(at)
	if lag <= StaleAfter {
		*f = fresh{}
		return true
	}
	if f.from.IsZero() || (lag-f.lag).Abs() > sameLag || now.Sub(f.last) > 2*time.Second {
		f.lag, f.from = lag, now
	}
	f.lag += (lag - f.lag) / 16 // clocks drift
	f.last = now
	return now.Sub(f.from) >= StaleAfter
}
