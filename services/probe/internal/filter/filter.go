package filter

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/schemas/events"
	"github.com/weir-net/weir/services/internal/kit/replay"
	"github.com/weir-net/weir/services/probe/internal/guard"
)

// Datapath is what the filter needs of the data plane.
type Datapath interface {
	Put([]xdp.Entry) error
	Delete([]xdp.Match) (int, error)
	Sweep(keep func(xdp.Entry) bool) (int, error)
	Entries(func(xdp.Entry, xdp.Drops) bool)
	SetFilterMode(xdp.Slot, xdp.FilterMode)
	SetExempt([]netip.Prefix) error
	Len() (leases, capacity int)
}

// Options of a filter.
type Options struct {
	Host             string
	Topic            string        // of commands
	Mode             commands.Mode // until a mode command says otherwise
	MaxPerIssuer     int
	ChangesPerSecond int // of one issuer, after the replay
	DeadMan          time.Duration
	Interfaces       func() []Interface
	Publish          func(events.Record)
	Log              *slog.Logger
	Now              func() time.Time
}

// Filter is the reader of the commands topic.
type Filter struct {
	Options
	dp Datapath

	mu        sync.Mutex
	live      *set // in force
	next      *set // being rebuilt by a replay; nil otherwise
	facts     guard.Facts
	installed map[commands.Match]int // variants in the data plane, of those that have not just one
	rates     map[string]*changes
	sawLoss   bool

	applied  atomic.Int64
	caughtUp atomic.Bool
	rejected atomic.Uint64
	changed  chan struct{}
}

type changes struct {
	tokens float64
	at     time.Time
}

var _ replay.Reader = (*Filter)(nil)

// New returns a filter on dp.
func New(dp Datapath, o Options) *Filter {
	if o.Now == nil {
		o.Now = time.Now
	}
	f := &Filter{Options: o, dp: dp, live: newSet(), installed: map[commands.Match]int{}, rates: map[string]*changes{}, changed: make(chan struct{}, 1)}
	f.applied.Store(-1)
	return f
}

// Changed receives after the applied offset has moved.
func (f *Filter) Changed() <-chan struct{} { return f.changed }

// Applied returns the last offset in force, and whether the replay is over.
func (f *Filter) Applied() (offset int64, ready bool) { return f.applied.Load(), f.caughtUp.Load() }

// Rejected counts commands that were refused since start.
func (f *Filter) Rejected() uint64 { return f.rejected.Load() }

// Begin implements replay.Reader: the log is read anew, what is in force stays
// in force meanwhile.
func (f *Filter) Begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = newSet()
	f.caughtUp.Store(false)
}

// Records implements replay.Reader.
func (f *Filter) Records(records []*kgo.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	touched := map[commands.Match]bool{}
	for _, r := range records {
		f.record(r, touched)
	}
	if f.next == nil {
		f.install(touched)
	}
}

// Skipped implements replay.Reader.
func (f *Filter) Skipped(from, next int64, reason error) {
	f.rejected.Add(1)
	f.Publish(events.Record{Kind: events.KindBadRecord, Severity: events.Warning, Topic: f.Topic, Offset: from,
		Reason: fmt.Sprintf("offsets %d to %d of %s cannot be read and are skipped: %v", from, next-1, f.Topic, reason)})
}

// Position implements replay.Reader. At the end of a replay what was rebuilt
// comes into force, and what the data plane holds beyond it is swept away.
func (f *Filter) Position(next int64, caughtUp bool) {
	f.mu.Lock()
	if caughtUp && f.next != nil {
		f.carryDeadMan()
		f.live, f.next = f.next, nil
		f.installAll()
		f.caughtUp.Store(true)
	}
	f.mu.Unlock()
	if f.next == nil {
		f.applied.Store(next - 1)
		f.notify()
	}
}

func (f *Filter) notify() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// carryDeadMan keeps suspensions that the dead-man ordered: they end when the
// issuer writes the lease again, not when this probe reads it again. After a
// restart they are known from the pinned entries.
func (f *Filter) carryDeadMan() {
	offsets := map[int64]bool{}
	f.dp.Entries(func(e xdp.Entry, _ xdp.Drops) bool {
		if e.Suspended {
			offsets[e.Offset] = true
		}
		return true
	})
	for _, h := range f.next.byKey {
		if offsets[h.Offset] && h.suspended == "" {
			f.next.suspend(h, "dead-man: the brokers were lost right after it was applied")
			h.deadMan = true
		}
	}
}

// target returns the set that records change.
func (f *Filter) target() *set {
	if f.next != nil {
		return f.next
	}
	return f.live
}

func (f *Filter) record(r *kgo.Record, touched map[commands.Match]bool) {
	s := f.target()
	key, err := commands.ParseKey(r.Key)
	if err != nil {
		f.reject(r, err)
		return
	}
	if commands.IsTombstone(r.Value) {
		if h := s.remove(string(r.Key)); h != nil {
			touched[h.Match] = true
		}
		if s.modes[string(r.Key)] != nil {
			delete(s.modes, string(r.Key))
			if f.next == nil {
				f.applyModes(r)
			}
		}
		return
	}
	c, err := commands.Decode(r.Key, r.Value)
	if err != nil {
		f.reject(r, err)
		return
	}
	if !concerns(key.Target, f.Host) {
		return
	}
	now := f.Now()
	l := commands.NewLease(c, r.Offset, r.Timestamp, now)
	if !l.Live(now) {
		if h := s.remove(l.Key); h != nil {
			touched[h.Match] = true
		}
		delete(s.modes, l.Key)
		return
	}
	if c.Action == commands.SetMode {
		s.modes[l.Key] = &l
		if f.next == nil {
			f.applyModes(r)
		}
		return
	}
	if err := f.admit(s, &l); err != nil {
		f.reject(r, err)
		return
	}
	h := &held{Lease: l, appliedAt: now}
	if err := f.facts.Judge(&h.Command); err != nil {
		// Kept: it comes back when the reason goes. For its issuer it is a
		// refusal all the same.
		h.suspended = err.Error()
		f.reject(r, err)
	}
	s.put(h)
	touched[h.Match] = true
}

// admit enforces quotas. Replays are not rated: what is on the log was admitted.
func (f *Filter) admit(s *set, l *commands.Lease) error {
	if err := errors.Join(checkPrefix(l.Match.Source), checkPrefix(l.Match.Destination)); err != nil {
		return err
	}
	known := s.byKey[l.Key] != nil
	if !known && f.MaxPerIssuer > 0 && s.issuers[l.Issuer] >= f.MaxPerIssuer {
		return fmt.Errorf("issuer %s has %d leases here, its quota", l.Issuer, f.MaxPerIssuer)
	}
	if _, capacity := f.dp.Len(); !known && len(s.byKey) >= capacity {
		return fmt.Errorf("the filter is full with %d leases", capacity)
	}
	if f.next != nil || f.ChangesPerSecond <= 0 {
		return nil
	}
	now := f.Now()
	c := f.rates[l.Issuer]
	if c == nil {
		c = &changes{tokens: float64(f.ChangesPerSecond), at: now}
		f.rates[l.Issuer] = c
	}
	c.tokens = min(float64(f.ChangesPerSecond), c.tokens+float64(f.ChangesPerSecond)*now.Sub(c.at).Seconds())
	c.at = now
	if c.tokens < 1 {
		return fmt.Errorf("issuer %s makes more than %d changes a second", l.Issuer, f.ChangesPerSecond)
	}
	c.tokens--
	return nil
}

// rejectedAge is how old a bad command may be to be worth an event when the log
// is replayed: older ones were reported when they came.
const rejectedAge = time.Minute

func (f *Filter) reject(r *kgo.Record, err error) {
	f.rejected.Add(1)
	if f.next != nil && f.Now().Sub(r.Timestamp) > rejectedAge {
		return
	}
	f.Publish(events.Record{Kind: events.KindRejectedCommand, Severity: events.Warning, Topic: r.Topic, Partition: r.Partition,
		Offset: r.Offset, Key: string(r.Key), Reason: "command refused: " + err.Error()})
}

func (f *Filter) applyModes(r *kgo.Record) {
	now := f.Now()
	for _, i := range f.Interfaces() {
		m := f.live.mode(f.Host, i.Name, f.Mode, now)
		f.dp.SetFilterMode(i.Slot, FilterMode(m))
		if r != nil {
			f.Publish(events.Record{Kind: events.KindMode, Interface: i.Name, Key: string(r.Key), Topic: r.Topic, Offset: r.Offset,
				Reason: fmt.Sprintf("mode of %s/%s is %s", f.Host, i.Name, m)})
		}
	}
}

// install brings the data plane in line for the touched matches.
func (f *Filter) install(touched map[commands.Match]bool) {
	now, interfaces := f.Now(), f.Interfaces()
	var put []xdp.Entry
	var gone []xdp.Match
	for m := range touched {
		entries := f.live.entries(m, f.Host, interfaces, now)
		put = append(put, entries...)
		for v := len(entries); v < f.variants(m); v++ {
			x := matchOf(m)
			x.Variant = uint8(v)
			gone = append(gone, x)
		}
		f.setVariants(m, len(entries))
	}
	f.change(put, gone)
}

// variants returns how many entries a match may have in the data plane.
func (f *Filter) variants(m commands.Match) int {
	if n, ok := f.installed[m]; ok {
		return n
	}
	return 1
}

func (f *Filter) setVariants(m commands.Match, n int) {
	if n == 1 || n == 0 && f.live.byMatch[m] == nil {
		delete(f.installed, m) // one that is not there is deleted at no cost
	} else {
		f.installed[m] = n
	}
}

func (f *Filter) change(put []xdp.Entry, gone []xdp.Match) {
	if len(gone) > 0 {
		if _, err := f.dp.Delete(gone); err != nil {
			f.alarm(err)
		}
	}
	if len(put) > 0 {
		if err := f.dp.Put(put); err != nil {
			f.alarm(err)
		}
	}
}

func (f *Filter) alarm(err error) {
	kind := events.KindBadRecord
	if errors.Is(err, xdp.ErrFull) {
		kind = events.KindTableFull
	}
	f.Publish(events.Record{Kind: kind, Severity: events.Error, Reason: "changing the filter: " + err.Error()})
}

// putAtOnce is how many entries installAll hands over at a time.
const putAtOnce = 8192

// installAll is mark and sweep: everything that should be there is put, and
// what the data plane holds beyond that is removed.
func (f *Filter) installAll() {
	f.installed = map[commands.Match]int{}
	err := f.putAll()
	if _, err := f.dp.Sweep(f.isMarked); err != nil {
		f.alarm(err)
	}
	if errors.Is(err, xdp.ErrFull) {
		err = f.putAll() // what has been swept away may have been in the way
	}
	if err != nil {
		f.alarm(err)
	}
	f.applyModes(nil)
}

// putAll puts everything that should be there.
func (f *Filter) putAll() error {
	now, interfaces := f.Now(), f.Interfaces()
	put := make([]xdp.Entry, 0, putAtOnce+xdp.MaxSlots)
	var err error
	for m := range f.live.byMatch {
		entries := f.live.entries(m, f.Host, interfaces, now)
		f.setVariants(m, len(entries))
		if put = append(put, entries...); len(put) >= putAtOnce {
			if err == nil {
				err = f.dp.Put(put)
			}
			put = put[:0]
		}
	}
	if err != nil {
		return err
	}
	return f.dp.Put(put)
}

// isMarked reports whether an entry is one that putAll put.
func (f *Filter) isMarked(e xdp.Entry) bool {
	m := commandOf(&e.Match)
	return f.live.byMatch[m] != nil && int(e.Match.Variant) < f.variants(m)
}
