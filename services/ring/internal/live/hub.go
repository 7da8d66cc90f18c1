// Package live holds the picture that the page shows and pushes it to browsers:
// a snapshot, then what changed, four times a second.
package live

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/ring/internal/attacks"
	"github.com/weir-net/weir/services/ring/internal/fleet"
	"github.com/weir-net/weir/services/ring/internal/history"
	"github.com/weir-net/weir/services/ring/internal/journal"
	"github.com/weir-net/weir/services/ring/internal/leases"
)

// Tick is how often browsers are told. Everything that happens within one
// becomes a single delta.
const Tick = 250 * time.Millisecond

// Hub owns the picture. Its methods may run at once.
type Hub struct {
	mu      sync.Mutex
	fleet   *fleet.Fleet
	leases  *leases.Set
	replay  *leases.Set // what is being read again from the start, or nil
	attacks *attacks.Set
	again   *attacks.Set // what is being read again from the start, or nil
	journal *journal.Journal
	clients map[string]*Client
	drops   map[string]drops
	link    Link
	bad     uint64

	now       func() time.Time
	skew      skew
	told      told
	maxClient int
}

// told is what every client has been told.
type told struct {
	leases  uint64 // the set's version
	attacks uint64 // likewise; 0: they must all be told anew
	events  uint64
	second  int64 // when slow things were last done
}

// drops is what a lease dropped everywhere.
type drops struct{ Packets, Bytes, Would uint64 }

// Link is how the connection to the brokers is.
type Link struct {
	Up       bool      `json:"up"`
	CaughtUp bool      `json:"caught_up"`
	Since    time.Time `json:"since,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	// Behind is by how many milliseconds the brokers' clock is behind the
	// service's, 0 if that may as well be what records take. The hub sets it.
	Behind int64 `json:"clock_behind_ms,omitempty"`
}

// New returns a hub that shows at most limit interfaces to at most maxClients
// browsers. now is the local clock.
func New(limit, maxClients int, now func() time.Time) *Hub {
	return &Hub{
		fleet: fleet.New(limit), leases: leases.New(), attacks: attacks.New(), journal: &journal.Journal{},
		clients: make(map[string]*Client), drops: make(map[string]drops), now: now, maxClient: maxClients,
	}
}

// clock is the brokers' time as well as it is known.
func (h *Hub) clock() time.Time { return h.now().Add(-h.skew.behind()) }

func (h *Hub) see(at time.Time) {
	// What is read from the past was stamped long ago by any clock, and a stamp far
	// ahead is somebody's mistake.
	now := h.now()
	if lag := now.Sub(at); h.link.CaughtUp && lag > -time.Hour {
		h.skew.note(lag, now)
	}
}

// Rates takes a record of the rates topic; at is the broker's timestamp. An
// error is also counted.
func (h *Hub) Rates(key string, value []byte, at time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.see(at)
	return h.count(h.fleet.ApplyRates(key, value, at))
}

// Status takes a record of the status topic, likewise.
func (h *Hub) Status(key string, value []byte, at time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.see(at)
	return h.count(h.fleet.ApplyStatus(key, value, at))
}

// Command takes a record of the commands topic, likewise.
func (h *Hub) Command(key, value []byte, offset int64, at time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.see(at)
	set := h.leases
	if h.replay != nil {
		set = h.replay
	}
	return h.count(set.Apply(key, value, offset, at, h.clock()))
}

// BeginCommands says that the commands come again from the start. What was known
// is shown until they have.
func (h *Hub) BeginCommands() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.replay = leases.New()
}

// CommandsCaughtUp says that they have: what did not come again is gone.
func (h *Hub) CommandsCaughtUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.replay != nil {
		h.replay.Follow(h.leases)
		h.leases, h.replay = h.replay, nil
		h.leases.Expire(h.clock())
	}
}

// Attack takes a record of the attacks topic, likewise.
func (h *Hub) Attack(key, value []byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	set := h.attacks
	if h.again != nil {
		set = h.again
	}
	return h.count(set.Apply(key, value))
}

// BeginAttacks says that the attacks come again from the start. What was known is
// shown until they have.
func (h *Hub) BeginAttacks() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.again = attacks.New()
}

// AttacksCaughtUp says that they have: what did not come again is gone.
func (h *Hub) AttacksCaughtUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.again != nil {
		h.again.Follow(h.attacks)
		h.attacks, h.again = h.again, nil
		h.told.attacks = 0
	}
}

// Event takes a record of the events topic, likewise.
func (h *Hub) Event(value []byte, at time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.count(h.journal.Apply(value, at))
}

func (h *Hub) count(err error) error {
	if err != nil {
		h.bad++
	}
	return err
}

// SetLink says how the connection to the brokers is; browsers are told at once.
func (h *Hub) SetLink(l Link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l.Behind = h.link.Behind; h.link == l {
		return
	}
	h.link = l
	h.broadcast(frame("link", encode(l)))
}

// Link returns what SetLink said last.
func (h *Hub) Link() Link {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.link
}

// Stats are figures for /metrics.
type Stats struct {
	Interfaces, Leases, Clients    int
	Bad, Refused, Resynced, Events uint64
}

// Stats returns them.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := Stats{Interfaces: h.fleet.Len(), Leases: h.leases.Len(), Clients: len(h.clients), Bad: h.bad, Refused: h.fleet.Refused(), Events: h.journal.Count()}
	for _, c := range h.clients {
		s.Resynced += c.resynced
	}
	return s
}

// Run tells browsers until ctx ends.
func (h *Hub) Run(ctx context.Context) error {
	t := time.NewTicker(Tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			h.Step()
		}
	}
}

// Node says what is asked about: the fleet if all is empty, a host, one of its
// interfaces, or a source seen there.
type Node struct {
	Host, Interface string
	Source          netip.Addr
}

// History returns the last 15 minutes of a node other than a source.
func (h *Hub) History(n Node) *history.Columnar {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fleet.History(h.clock(), func(i *fleet.Interface) bool {
		return (n.Host == "" || i.Host == n.Host) && (n.Interface == "" || i.Interface == n.Interface)
	})
}

// SourceHistory returns the points of the last 15 minutes of a source.
func (h *Hub) SourceHistory(n Node) []fleet.SourcePoint {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := h.fleet.Lookup(schemas.InterfaceKey(n.Host, n.Interface)); i != nil {
		return i.SourceHistory(n.Source)
	}
	return nil
}

// Search finds nodes by name, address or prefix.
func (h *Hub) Search(text string, limit int) []fleet.Found {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.fleet.Search(text, limit)
}

// Why returns the leases that cover a source at an interface, the effective one
// first, and the mode of the probe there ("" if it never said).
func (h *Hub) Why(n Node) ([]commands.Lease, string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	mode := ""
	if i := h.fleet.Lookup(schemas.InterfaceKey(n.Host, n.Interface)); i != nil {
		mode = i.Status.Mode
	}
	return h.leases.Covering(n.Host, n.Interface, n.Source, h.clock()), mode
}

// Lease returns the live lease with the key.
func (h *Hub) Lease(key string) (commands.Lease, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, ok := h.leases.Lookup(key)
	return l, ok && l.Live(h.clock())
}
