package live

import (
	"crypto/rand"
	"errors"
	"slices"
)

// Limits of one browser.
const (
	backlog  = 32 // frames that wait; then the browser gets a snapshot instead
	maxWatch = 64 // interfaces whose sources it sees
)

// ErrFull says that there are as many browsers as allowed.
var ErrFull = errors.New("too many browsers are watching")

// Client is one browser's stream.
type Client struct {
	ID       string
	Frames   chan []byte // closed by Close
	watch    []uint32
	turn     int // where in watch the next tick goes on
	sent     map[uint32]sentDetail
	behind   bool
	resynced uint64
}

// sentDetail is which state of an interface's sources a client has.
type sentDetail struct{ seq, leases uint64 }

// Subscribe starts a stream. Its first frames are a hello and a snapshot.
func (h *Hub) Subscribe() (*Client, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.clients) >= h.maxClient {
		return nil, ErrFull
	}
	c := &Client{ID: rand.Text(), Frames: make(chan []byte, backlog), sent: make(map[uint32]sentDetail)}
	h.clients[c.ID] = c
	c.Frames <- frame("hello", encode(map[string]any{"stream": c.ID, "tick_ms": Tick.Milliseconds()}))
	h.snapshot(c)
	return c, nil
}

// Close ends a stream.
func (h *Hub) Close(c *Client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clients[c.ID] == c {
		delete(h.clients, c.ID)
		close(c.Frames)
	}
}

// Watch says, the most urgent first, of which interfaces, by ID, a stream shows the sources. It reports
// whether there is such a stream.
func (h *Hub) Watch(stream string, ids []uint32) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.clients[stream]
	if c == nil {
		return false
	}
	c.watch = slices.Clone(ids[:min(len(ids), maxWatch)])
	for id := range c.sent {
		if !slices.Contains(c.watch, id) {
			delete(c.sent, id)
		}
	}
	return true
}

// send queues a frame. A browser that does not keep up loses frames now and gets
// a snapshot once it has read what waits: all values are absolute, so nothing
// but time is lost, and nobody else waits for it.
func (c *Client) send(f []byte) {
	if c.behind {
		return
	}
	select {
	case c.Frames <- f:
	default:
		c.behind = true
	}
}

func (h *Hub) broadcast(f []byte) {
	for _, c := range h.clients {
		c.send(f)
	}
}
