package live

import "time"

// skew learns by how much the brokers' clock is behind ours, from records that
// were read as they came: the one that took least is the best guess.
type skew struct {
	least, before time.Duration // of this span and the one before
	began         time.Time     // of this span, zero: nothing was learnt yet
}

const (
	skewSpan = 30 * time.Second
	// skewSlack is what may as well be the time that a record takes.
	skewSlack = 2 * time.Second
)

// note takes one record that was read at now, lag after its stamp.
func (s *skew) note(lag time.Duration, now time.Time) {
	switch age := now.Sub(s.began); {
	case s.began.IsZero():
		s.least, s.before, s.began = lag, lag, now
	case age > skewSpan || age < 0:
		s.before, s.least, s.began = s.least, lag, now
	default:
		s.least = min(s.least, lag)
	}
}

// behind returns it; less than nothing if the brokers' clock is ahead.
func (s *skew) behind() time.Duration {
	if d := min(s.least, s.before); d.Abs() > skewSlack {
		return d
	}
	return 0
}
