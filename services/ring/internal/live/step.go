package live

import (
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/services/ring/internal/fleet"
)

// Limits of what browsers are shown.
const (
	maxLeases  = 500 // the newest
	maxSources = 50  // per interface, the heaviest
	maxTargets = 12  // ports and destinations per interface, likewise
	maxEvents  = 200 // in a snapshot

	detailsPerTick = 10 // interfaces whose sources one browser gets
	urgent         = 2  // of these are always the first that it watches
)

// sweepParts is in how many ticks every interface's sources are looked at once.
const sweepParts = int(fleet.SourceStep / Tick)

// Step tells browsers what happened since the last Step.
func (h *Hub) Step() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock()
	h.fleet.Sweep(now, sweepParts)
	slow := now.Unix() != h.told.second
	if slow {
		h.told.second = now.Unix()
		h.leases.Expire(now)
		h.fleet.Expire(now)
		h.tellSkew()
	}
	if len(h.clients) == 0 {
		h.fleet.Skip()
		h.told.leases, h.told.events = h.leases.Version(), h.journal.Count()
		h.toldAttacks()
		return
	}
	h.catchUp()
	if members, any := h.fleet.Delta(now); any || slow {
		h.broadcast(frame("delta", object(now, members)))
	}
	h.tellLeases(now, slow)
	h.tellAttacks()
	if h.journal.Count() != h.told.events {
		h.broadcast(frame("events", encode(h.eventsSince(h.told.events))))
		h.told.events = h.journal.Count()
	}
	h.tellDetails(now)
}

// tellSkew says how the brokers' clock differs, if that is news.
func (h *Hub) tellSkew() {
	behind := h.skew.behind()
	if (behind - time.Duration(h.link.Behind)*time.Millisecond).Abs() <= skewSlack {
		return
	}
	h.link.Behind = behind.Milliseconds()
	h.broadcast(frame("link", encode(h.link)))
}

// catchUp gives a snapshot to the browsers that lost frames and have since read
// all that waited.
func (h *Hub) catchUp() {
	for _, c := range h.clients {
		if c.behind && len(c.Frames) == 0 {
			c.behind = false
			c.resynced++
			clear(c.sent)
			h.snapshot(c)
		}
	}
}

func (h *Hub) snapshot(c *Client) {
	now := h.clock()
	c.send(frame("link", encode(h.link)))
	c.send(frame("snapshot", object(now, h.fleet.Snapshot(now))))
	c.send(frame("leases", h.encodeLeases(now)))
	c.send(frame("attacks", h.encodeAttacks(0)))
	since := uint64(0)
	if n := h.journal.Count(); n > maxEvents {
		since = n - maxEvents
	}
	c.send(frame("events", encode(h.eventsSince(since))))
}

// tellLeases sends them at once when they change, and their counters once a
// second.
func (h *Hub) tellLeases(now time.Time, slow bool) {
	changed := h.leases.Version() != h.told.leases
	h.told.leases = h.leases.Version()
	if slow && h.countDrops() || changed {
		h.broadcast(frame("leases", h.encodeLeases(now)))
	}
}

// tellAttacks sends the attacks that changed.
func (h *Hub) tellAttacks() {
	if h.attacks.Version() != h.told.attacks {
		h.broadcast(frame("attacks", h.encodeAttacks(h.told.attacks)))
	}
	h.toldAttacks()
}

func (h *Hub) toldAttacks() {
	h.told.attacks = h.attacks.Version()
	h.attacks.Told()
}

// countDrops adds up what each lease dropped on all interfaces and reports
// whether anything changed.
func (h *Hub) countDrops() bool {
	sum := make(map[string]drops, len(h.drops))
	for _, i := range h.fleet.All() {
		for _, d := range i.Status.Filter.Drops {
			s := sum[d.Key]
			s.Packets += d.Packets
			s.Bytes += d.Bytes
			s.Would += d.Would
			sum[d.Key] = s
		}
	}
	changed := len(sum) != len(h.drops)
	for key, s := range sum {
		changed = changed || h.drops[key] != s
	}
	h.drops = sum
	return changed
}

// tellDetails sends the sources of the interfaces that a browser watches, if
// they changed: those that it named first at every tick, the others in turn, so
// that a ring of many costs no more than detailsPerTick. Encoding is shared by
// all who watch the same.
func (h *Hub) tellDetails(now time.Time) {
	frames := make(map[uint32][]byte)
	for _, c := range h.clients {
		budget := detailsPerTick
		for n := range c.watch {
			id := c.watch[n]
			if n >= urgent {
				id = c.watch[urgent+(c.turn+n-urgent)%(len(c.watch)-urgent)]
			}
			i := h.fleet.ByID(id)
			if i == nil {
				continue
			}
			state := sentDetail{seq: i.Rates.Seq, leases: h.leases.Version()}
			if old, ok := c.sent[id]; ok && old == state {
				continue
			}
			c.sent[id] = state
			if frames[id] == nil {
				frames[id] = frame("detail", h.encodeDetail(i, now))
			}
			c.send(frames[id])
			if budget--; budget == 0 {
				break
			}
		}
		if rest := len(c.watch) - urgent; rest > 0 {
			c.turn = (c.turn + detailsPerTick - urgent) % rest
		}
	}
}

// Detail returns the sources of one interface as the page wants them, or nil.
func (h *Hub) Detail(id uint32) []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := h.fleet.ByID(id); i != nil {
		return h.encodeDetail(i, h.clock())
	}
	return nil
}

// Applied says which live interfaces of target have applied offset of a
// component, and which have not yet.
func (h *Hub) Applied(target schemas.Target, component string, offset int64) (applied, pending, observing []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.clock()
	for _, i := range h.fleet.All() {
		if !target.Matches(i.Host, i.Interface) || !i.Live(now) {
			continue
		}
		if !i.Status.Applied(component, offset) {
			pending = append(pending, i.Key())
			continue
		}
		applied = append(applied, i.Key())
		if i.Status.Mode != "enforce" {
			observing = append(observing, i.Key())
		}
	}
	return applied, pending, observing
}

// Refusals returns the events about the command at offset.
func (h *Hub) Refusals(topic string, offset int64) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, e := range h.journal.Since(0) {
		if e.Topic == topic && e.Offset == offset {
			out = append(out, e.Host+": "+e.Kind+": "+e.Reason)
		}
	}
	return out
}
