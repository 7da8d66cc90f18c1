package filter

import (
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
	Entries(func(xdp.Entry, xdp.Drops) bool) // may change what it walks over
	Dropping(func(xdp.Entry, xdp.Drops) bool)
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

	began     time.Time
	installs  sync.Mutex // held while all is installed; taken before mu
	mu        sync.Mutex // never held for longer than a portion takes
	live      *set       // in force
	next      *set       // being rebuilt by a replay; nil otherwise
	facts     guard.Facts
	installed map[match]int // variants in the data plane, of those that have not just one
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
	f := &Filter{Options: o, dp: dp, live: newSet(), installed: map[match]int{}, rates: map[string]*changes{}, changed: make(chan struct{}, 1)}
	f.began = f.Now()
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

// Skipped implements replay.Reader.
func (f *Filter) Skipped(from, next int64, reason error) {
	f.rejected.Add(1)
	f.Publish(events.Record{Kind: events.KindBadRecord, Severity: events.Warning, Topic: f.Topic, Offset: from,
		Reason: fmt.Sprintf("offsets %d to %d of %s cannot be read and are skipped: %v", from, next-1, f.Topic, reason)})
}

// Position implements replay.Reader. At the end of a replay what was rebuilt
// comes into force, and what the data plane holds beyond it is swept away.
func (f *Filter) Position(next int64, caughtUp bool) {
	if f.next != nil { // only the goroutine of this call sets it
		if !caughtUp {
			return
		}
		f.takeOver()
	}
	f.applied.Store(next - 1)
	f.notify()
}

func (f *Filter) takeOver() {
	f.installs.Lock()
	defer f.installs.Unlock()
	f.carryDeadMan()
	f.mu.Lock()
	f.live, f.next = f.next, nil
	f.mu.Unlock()
	f.installAll()
	f.caughtUp.Store(true)
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
	if len(offsets) == 0 {
		return
	}
	f.report(f.inPortions(f.next, func(h *held) bool {
		if offsets[h.offset] && !h.suspended {
			f.next.suspend(h, true)
			h.deadMan = true
		}
		return false
	}))
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
