package filter

import (
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// batch is what the records of one portion have in common.
type batch struct {
	set      *set // that they change
	now      time.Time
	capacity int
	touched  []match
}

// portion takes in records, and brings the data plane in line unless a replay is
// under way.
func (f *Filter) portion(records []*kgo.Record) {
	_, capacity := f.dp.Len()
	b := batch{set: f.live, now: f.Now(), capacity: capacity}
	if f.next != nil {
		b.set = f.next
	}
	for _, r := range records {
		f.record(r, &b)
	}
	if f.next == nil {
		f.report(f.install(b.touched))
	}
}

func (f *Filter) record(r *kgo.Record, b *batch) {
	key, err := commands.ParseKey(r.Key)
	if err != nil {
		f.reject(r, err)
		return
	}
	if commands.IsTombstone(r.Value) {
		f.release(r, &key, b)
		return
	}
	c, err := key.Decode(r.Value)
	if err != nil {
		f.reject(r, err)
		return
	}
	if !concerns(key.Target, f.Host) {
		return
	}
	switch _, expires := c.Validity(r.Timestamp, b.now); {
	case !expires.IsZero() && !b.now.Before(expires):
		f.release(r, &key, b)
	case key.Mode:
		l := commands.NewLease(c, r.Offset, r.Timestamp, b.now)
		b.set.modes[l.Key] = &l
		if f.next == nil {
			f.applyModes(r)
		}
	default:
		f.lease(r, &c, expires, b)
	}
}

// release forgets what is under a key.
func (f *Filter) release(r *kgo.Record, key *commands.Key, b *batch) {
	if !key.Mode {
		b.remove(packed(key.Match), owner{key.Target, key.Issuer})
		return
	}
	if b.set.modes[string(r.Key)] == nil {
		return
	}
	delete(b.set.modes, string(r.Key))
	if f.next == nil {
		f.applyModes(r)
	}
}

func (b *batch) remove(m match, o owner) {
	if at, _ := b.set.find(m, o); at != 0 {
		b.set.remove(at)
		b.touched = append(b.touched, m)
	}
}

// lease takes in a lease that is live.
func (f *Filter) lease(r *kgo.Record, c *commands.Command, expires time.Time, b *batch) {
	h, o := heldOf(c, r.Offset, expires, b.now.Sub(f.began)), owner{c.Target, c.Issuer}
	known, err := f.admit(&h, o, b)
	if err != nil {
		f.reject(r, err)
		return
	}
	if err := f.facts.Judge(c); err != nil {
		// Kept: it comes back when the reason goes. For its issuer it is a
		// refusal all the same.
		h.suspended = true
		f.reject(r, err)
	}
	b.set.replace(known, h, o)
	if f.next == nil {
		b.touched = append(b.touched, h.match)
	}
}

// admit enforces quotas, and returns the lease that is under this key by now or
// zero. Replays are not rated: what is on the log was admitted.
func (f *Filter) admit(h *held, o owner, b *batch) (known ref, err error) {
	known, same := b.set.find(h.match, o)
	if known == 0 {
		switch {
		case f.MaxPerIssuer > 0 && b.set.issuers[o.issuer] >= f.MaxPerIssuer:
			return 0, fmt.Errorf("issuer %s has %d leases here, its quota", o.issuer, f.MaxPerIssuer)
		case b.set.n >= b.capacity:
			return 0, fmt.Errorf("the filter is full with %d leases", b.capacity)
		case same >= maxSameMatch:
			return 0, fmt.Errorf("%d leases have this match, the most that one may have", maxSameMatch)
		}
	}
	if f.next != nil || f.ChangesPerSecond <= 0 {
		return known, nil
	}
	c := f.rates[o.issuer]
	if c == nil {
		c = &changes{tokens: float64(f.ChangesPerSecond), at: b.now}
		f.rates[o.issuer] = c
	}
	c.tokens = min(float64(f.ChangesPerSecond), c.tokens+float64(f.ChangesPerSecond)*b.now.Sub(c.at).Seconds())
	c.at = b.now
	if c.tokens < 1 {
		return 0, fmt.Errorf("issuer %s makes more than %d changes a second", o.issuer, f.ChangesPerSecond)
	}
	c.tokens--
	return known, nil
}

// concerns reports whether a target means any interface of host.
func concerns(t schemas.Target, host string) bool {
	return t.Kind == schemas.TargetAll || t.Host == host
}
