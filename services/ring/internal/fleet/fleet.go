// Package fleet is the picture of fleet, servers, interfaces and sources, built
// from rates and status records alone. It does no input or output and has no
// clock: what it is told, in the order of the topics, is what it shows.
package fleet

import (
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/status"
	"github.com/weir-net/weir/services/ring/internal/history"
)

// Interface is one network interface of one host. ID is a small number for the
// wire, never used again for another.
type Interface struct {
	ID              uint32
	Host, Interface string

	// Rates is the last record without its sources (see Detail); RatesAt is
	// the broker's timestamp of it, zero if there was none.
	Rates   Head
	RatesAt time.Time
	// Status is the last record; StatusAt is the broker's timestamp of it, zero
	// if there was none.
	Status   status.Record
	StatusAt time.Time

	value   []byte // the last rates value, for Detail
	detail  *Detail
	history history.Series
	sources sourceHistories

	baseline float64 // usual pps, -1 while unknown
	info     []byte  // its last wire form, to send it only when it changed
	changed  uint64  // the version that last touched it
}

// Key returns "<host>/<ifname>".
func (i *Interface) Key() string { return schemas.InterfaceKey(i.Host, i.Interface) }

// Fleet is every interface that is known. Its methods must not run at once.
type Fleet struct {
	limit   int
	byKey   map[string]*Interface
	byID    map[uint32]*Interface
	order   []*Interface // by appearance, for the round of Sweep
	next    int          // of Sweep
	lastID  uint32
	version uint64
	gone    []uint32
	refused uint64
}

// New returns an empty fleet that holds at most limit interfaces; what comes
// beyond is refused and counted.
func New(limit int) *Fleet {
	return &Fleet{limit: limit, byKey: make(map[string]*Interface), byID: make(map[uint32]*Interface)}
}

// Refused returns how many records were refused because the fleet is full.
func (f *Fleet) Refused() uint64 { return f.refused }

// Len returns the number of interfaces.
func (f *Fleet) Len() int { return len(f.order) }

// Lookup returns the interface with the key, or nil.
func (f *Fleet) Lookup(key string) *Interface { return f.byKey[key] }

// ByID returns the interface with the number, or nil.
func (f *Fleet) ByID(id uint32) *Interface { return f.byID[id] }

// All returns every interface by order of appearance. The caller must not keep
// or change the slice.
func (f *Fleet) All() []*Interface { return f.order }

// ApplyRates takes one record of the rates topic; at is the broker's timestamp.
// No value deletes the interface. value is kept.
func (f *Fleet) ApplyRates(key string, value []byte, at time.Time) error {
	if len(value) == 0 {
		f.remove(key)
		return nil
	}
	r, err := decodeHead(value)
	if err != nil {
		return err
	}
	if of := schemas.InterfaceKey(r.Host, r.Interface); of != key {
		return schemas.Refuse(schemas.FaultMismatch, "key %q, but the value is of %q", key, of)
	}
	i := f.get(key, r.Host, r.Interface)
	if i == nil {
		return nil
	}
	i.Rates, i.RatesAt, i.value, i.detail = r, at, value, nil
	if !r.Stale {
		i.history.Set(at, sample(&r))
	}
	f.touch(i)
	return nil
}

// ApplyStatus takes one record of the status topic, likewise.
func (f *Fleet) ApplyStatus(key string, value []byte, at time.Time) error {
	if len(value) == 0 {
		if i := f.byKey[key]; i != nil {
			i.Status, i.StatusAt = status.Record{}, time.Time{}
			f.touch(i)
			if i.RatesAt.IsZero() {
				f.remove(key)
			}
		}
		return nil
	}
	s, err := status.Decode(value)
	if err != nil {
		return err
	}
	if s.Key() != key {
		return schemas.Refuse(schemas.FaultMismatch, "key %q, but the value is of %q", key, s.Key())
	}
	if i := f.get(key, s.Host, s.Interface); i != nil {
		i.Status, i.StatusAt = s, at
		f.touch(i)
	}
	return nil
}

// Expire removes the interfaces of which nothing was heard for
// schemas.DeleteAfter, as the aggregator does with its own.
func (f *Fleet) Expire(now time.Time) {
	for _, i := range append([]*Interface(nil), f.order...) {
		if now.Sub(i.RatesAt) > schemas.DeleteAfter && now.Sub(i.StatusAt) > schemas.DeleteAfter {
			f.remove(i.Key())
		}
	}
}

// History adds up the last 15 minutes of the interfaces that keep says.
func (f *Fleet) History(now time.Time, keep func(*Interface) bool) *history.Columnar {
	c := history.NewColumnar(now)
	for _, i := range f.order {
		if keep(i) {
			c.Add(&i.history)
		}
	}
	return c
}

func (f *Fleet) get(key, host, ifname string) *Interface {
	if i := f.byKey[key]; i != nil {
		return i
	}
	if len(f.order) >= f.limit {
		f.refused++
		return nil
	}
	f.lastID++
	i := &Interface{ID: f.lastID, Host: host, Interface: ifname, baseline: -1}
	f.byKey[key], f.byID[i.ID] = i, i
	f.order = append(f.order, i)
	return i
}

func (f *Fleet) touch(i *Interface) { i.changed = f.version + 1 }

func (f *Fleet) remove(key string) {
	i := f.byKey[key]
	if i == nil {
		return
	}
	delete(f.byKey, key)
	delete(f.byID, i.ID)
	for n, o := range f.order {
		if o == i {
			f.order = append(f.order[:n], f.order[n+1:]...)
			break
		}
	}
	f.gone = append(f.gone, i.ID)
}

// sample turns a record into a second of history.
func sample(r *Head) history.Sample {
	var s history.Sample
	s[history.PPS], s[history.BPS], s[history.DroppedPPS] = float32(r.PPS), float32(r.BPS), float32(r.DroppedPPS)
	for c := range r.ByClass {
		s[history.FirstClass+c] = float32(r.ClassPPS(c))
	}
	return s
}
