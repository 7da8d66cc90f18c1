package commands

import "time"

// NewLease places c, read at offset, in time, see Validity.
func NewLease(c Command, offset int64, brokerTimestamp, now time.Time) Lease {
	l := Lease{Command: c, Key: c.Key(), Offset: offset}
	l.IssuedAt, l.ExpiresAt = c.Validity(brokerTimestamp, now)
	return l
}

// Validity returns from when until when c holds; expires is zero for a mode for
// good. The broker's timestamp starts the TTL; one in the future (or none) is
// clamped to now, so that nobody can stretch a lease by a clock. now is the local
// clock, corrected by its skew if known.
func (c *Command) Validity(brokerTimestamp, now time.Time) (issued, expires time.Time) {
	issued = brokerTimestamp
	if issued.IsZero() || issued.After(now) {
		issued = now
	}
	if c.TTL > 0 {
		expires = issued.Add(c.TTL)
	}
	return issued, expires
}

// Live reports whether l still holds at now. A mode without TTL always does.
func (l *Lease) Live(now time.Time) bool { return l.ExpiresAt.IsZero() || now.Before(l.ExpiresAt) }

// Strength orders actions on one match: allow > drop > rate-limit > observe.
// Zero is none.
func (a Action) Strength() int {
	switch a {
	case Allow:
		return 4
	case Drop:
		return 3
	case RateLimit:
		return 2
	case Observe:
		return 1
	}
	return 0
}

// Beats reports whether l is the effective one of two leases on one match: by
// the stronger action, then by the longer expiry, then by the later offset.
func (l *Lease) Beats(o *Lease) bool {
	if a, b := l.Action.Strength(), o.Action.Strength(); a != b {
		return a > b
	}
	if !l.ExpiresAt.Equal(o.ExpiresAt) {
		return l.ExpiresAt.After(o.ExpiresAt)
	}
	return l.Offset > o.Offset
}

// OverridesMode reports whether the mode command l decides rather than o for an
// interface that both match: the more specific target wins, then the later
// offset.
func (l *Lease) OverridesMode(o *Lease) bool {
	if l.Target.Kind != o.Target.Kind {
		return l.Target.Kind > o.Target.Kind
	}
	return l.Offset > o.Offset
}
