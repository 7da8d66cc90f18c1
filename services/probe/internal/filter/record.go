package filter

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// command is a record that was read: what it orders, or why that is unknown. A
// release has what its key says, and no action.
type command struct {
	record *kgo.Record
	commands.Command
	isMode bool
	err    error
}

// decode reads records; it needs nothing of the filter.
func decode(records []*kgo.Record) []command {
	out := make([]command, len(records))
	for i, r := range records {
		c := &out[i]
		c.record = r
		key, err := commands.ParseKey(r.Key)
		switch {
		case err != nil:
			c.err = err
		case commands.IsTombstone(r.Value):
			c.Target, c.Match, c.Issuer = key.Target, key.Match, key.Issuer
		default:
			c.Command, c.err = key.Decode(r.Value)
		}
		c.isMode = key.Mode
	}
	return out
}

// decoded decodes records in portions, one ahead of the caller.
func decoded(records []*kgo.Record) iter.Seq[[]command] {
	return func(yield func([]command) bool) {
		if len(records) <= blockSize {
			yield(decode(records))
			return
		}
		portions, stop := make(chan []command), make(chan struct{})
		defer close(stop)
		go func() {
			defer close(portions)
			for some := range slices.Chunk(records, blockSize) {
				select {
				case portions <- decode(some):
				case <-stop:
					return
				}
			}
		}()
		for some := range portions {
			if !yield(some) {
				return
			}
		}
	}
}

// batch is what the records of one portion have in common.
type batch struct {
	set      *set // that they change
	now      time.Time
	capacity int
	touched  []match
}

// Records implements replay.Reader.
func (f *Filter) Records(records []*kgo.Record) {
	for some := range decoded(records) {
		f.mu.Lock()
		f.take(some)
		f.mu.Unlock()
	}
}

// take takes in a portion, and brings the data plane in line unless a replay is
// under way.
func (f *Filter) take(some []command) {
	_, capacity := f.dp.Len()
	b := batch{set: f.live, now: f.Now(), capacity: capacity}
	if f.next != nil {
		b.set = f.next
	}
	for i := range some {
		f.command(&some[i], &b)
	}
	if f.next == nil {
		f.report(f.install(b.touched))
	}
}

func (f *Filter) command(c *command, b *batch) {
	switch {
	case c.err != nil:
		f.reject(c.record, c.err)
		return
	case c.Action == "":
		f.release(c, b)
		return
	case !concerns(c.Target, f.Host):
		return
	}
	switch _, expires := c.Validity(c.record.Timestamp, b.now); {
	case !expires.IsZero() && !b.now.Before(expires):
		f.release(c, b)
	case c.isMode:
		l := commands.NewLease(c.Command, c.record.Offset, c.record.Timestamp, b.now)
		b.set.modes[l.Key] = &l
		if f.next == nil {
			f.applyModes(c.record)
		}
	default:
		f.lease(c, expires, b)
	}
}

// release forgets what is under a key.
func (f *Filter) release(c *command, b *batch) {
	if !c.isMode {
		b.remove(packed(c.Match), owner{c.Target, c.Issuer})
		return
	}
	key := string(c.record.Key)
	if b.set.modes[key] == nil {
		return
	}
	delete(b.set.modes, key)
	if f.next == nil {
		f.applyModes(c.record)
	}
}

func (b *batch) remove(m match, o owner) {
	if at, _ := b.set.find(m, o); at != 0 {
		b.set.remove(at)
		b.touched = append(b.touched, m)
	}
}

// lease takes in a lease that is live.
func (f *Filter) lease(c *command, expires time.Time, b *batch) {
	r := c.record
	h, o := heldOf(&c.Command, r.Offset, expires, b.now.Sub(f.began)), owner{c.Target, c.Issuer}
	known, err := f.admit(&h, o, b)
	if err != nil {
		f.reject(r, err)
		return
	}
	if err := f.facts.Judge(&c.Command); err != nil {
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
