package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/weir/internal/broker"
)

// leaseSet is what the commands topic holds.
type leaseSet struct {
	byKey    map[string]commands.Lease
	rejected int       // records that no probe would apply
	newest   time.Time // the latest broker timestamp seen
	now      time.Time // the broker's time, as well as we know it
}

// leases replays the commands topic.
func (a *app) leases(ctx context.Context, c *broker.Client) (*leaseSet, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	s := &leaseSet{byKey: make(map[string]commands.Lease)}
	err := c.Follow(ctx, c.Topics.Commands, broker.FromStart(), func(r *kgo.Record) bool {
		s.observe(r)
		return true
	}, func() bool { return false })
	if err != nil {
		return nil, err
	}
	s.see(time.Now())
	return s, nil
}

func (s *leaseSet) observe(r *kgo.Record) {
	key := string(r.Key)
	if r.Timestamp.After(s.newest) {
		s.newest = r.Timestamp
	}
	if commands.IsTombstone(r.Value) {
		delete(s.byKey, key)
		return
	}
	c, err := commands.Decode(r.Key, r.Value)
	if err != nil {
		// A probe keeps what the key said before when a record is rejected.
		s.rejected++
		return
	}
	// Only the future is clamped by now, and live() judges by the broker's time.
	s.byKey[key] = commands.NewLease(c, r.Offset, r.Timestamp, r.Timestamp)
}

// see moves the broker's time forward: it is at least the newest timestamp that
// was read, else our own clock has to do.
func (s *leaseSet) see(local time.Time) {
	s.now = local
	if s.newest.After(s.now) {
		s.now = s.newest
	}
}

// live returns the leases and modes that hold, by key.
func (s *leaseSet) live() []commands.Lease {
	var out []commands.Lease
	for _, l := range s.byKey {
		if l.Live(s.now) {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(x, y commands.Lease) int { return strings.Compare(x.Key, y.Key) })
	return out
}

// statuses reads the status topic to its end: the last record of each interface
// and the broker's timestamp of it.
func (a *app) statuses(ctx context.Context, c *broker.Client) (map[string]seenStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	out := make(map[string]seenStatus)
	err := c.Follow(ctx, c.Topics.Status, broker.FromStart(), func(r *kgo.Record) bool {
		if r.Value == nil {
			delete(out, string(r.Key))
		} else if s, err := status.Decode(r.Value); err == nil && s.Key() == string(r.Key) {
			out[s.Key()] = seenStatus{Record: s, at: r.Timestamp}
		}
		return true
	}, func() bool { return false })
	return out, err
}

// seenStatus is a status record and the broker's timestamp of it.
type seenStatus struct {
	status.Record
	at time.Time
}

// newest returns the latest timestamp of any.
func newest(statuses map[string]seenStatus) time.Time {
	var t time.Time
	for _, s := range statuses {
		if s.at.After(t) {
			t = s.at
		}
	}
	return t
}
