// Package tree is the Onion-Ring for a terminal: fleet, servers, interfaces and
// their heaviest sources as a tree, in the page's colours, redrawn as rates come.
package tree

import (
	"sync"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/rates"
	"github.com/weir-net/weir/schemas/status"
)

// Picture is the latest that every interface said. Its methods may run at once.
type Picture struct {
	mu         sync.Mutex
	interfaces map[string]*nic
	newest     time.Time // broker's timestamp
	heard      time.Time // newest of the rates alone
}

// nic is one interface; a zero time means that nothing was said.
type nic struct {
	value    []byte // of rates that came since they were last looked at
	valueAt  time.Time
	rates    rates.Record
	ratesAt  time.Time
	status   status.Record
	statusAt time.Time
}

// NewPicture returns one that knows of nothing.
func NewPicture() *Picture { return &Picture{interfaces: make(map[string]*nic)} }

// Rates takes a record of the rates topic; at is the broker's timestamp. No value
// deletes. value is kept, and read when somebody looks: of a large fleet's records
// few are seen.
func (p *Picture) Rates(key string, value []byte, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(value) == 0 {
		delete(p.interfaces, key)
		return
	}
	i := p.get(key)
	i.value, i.valueAt = value, at
	p.newest, p.heard = later(p.newest, at), later(p.heard, at)
}

// read takes in what came since the last time: of what is seen all, of the rest as
// much as the view's budget allows, so that a large fleet is a little late where
// nobody looks.
func (p *Picture) read(v View) {
	for key := range v.Seen {
		if i := p.interfaces[key]; i != nil {
			p.decode(key, i)
		}
	}
	began := time.Now()
	for key, i := range p.interfaces { // in another order each time
		if p.decode(key, i) && v.Budget > 0 && time.Since(began) > v.Budget {
			return
		}
	}
}

// decode reports whether there was anything to read. What cannot be read, or is
// not what its key says, is left out, as on the page.
func (p *Picture) decode(key string, i *nic) bool {
	news := i.value != nil
	if news {
		if r, err := rates.Decode(i.value); err == nil && r.Key() == key {
			i.rates, i.ratesAt = r, i.valueAt
		}
		i.value = nil
	}
	if i.ratesAt.IsZero() && i.statusAt.IsZero() {
		delete(p.interfaces, key)
	}
	return news
}

// Status takes a record of the status topic, likewise.
func (p *Picture) Status(key string, value []byte, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(value) == 0 {
		if i := p.interfaces[key]; i != nil {
			i.status, i.statusAt = status.Record{}, time.Time{}
		}
		return
	}
	if s, err := status.Decode(value); err == nil && s.Key() == key {
		i := p.get(key)
		i.status, i.statusAt = s, at
		p.newest = later(p.newest, at)
	}
}

func (p *Picture) get(key string) *nic {
	i := p.interfaces[key]
	if i == nil {
		i = &nic{}
		p.interfaces[key] = i
	}
	return i
}

// now is the broker's time as well as it is known: ours, unless a record was
// stamped later.
func (p *Picture) now(local time.Time) time.Time { return later(local, p.newest) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// name returns the host and the interface.
func (n *nic) name() (host, ifname string) {
	if n.ratesAt.IsZero() {
		return n.status.Host, n.status.Interface
	}
	return n.rates.Host, n.rates.Interface
}

// stale reports whether its rates say nothing about now.
func (n *nic) stale(now time.Time) bool {
	return n.ratesAt.IsZero() || n.rates.Stale || now.Sub(n.ratesAt) >= schemas.StaleAfter
}

// forgotten reports whether the aggregator would have deleted it.
func (n *nic) forgotten(now time.Time) bool {
	return now.Sub(n.ratesAt) > schemas.DeleteAfter && now.Sub(n.statusAt) > schemas.DeleteAfter
}
