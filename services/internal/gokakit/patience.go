package gokakit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// How long an answer is waited for. sarama has one time-out for all requests, which
// must outlast a rebalance, and asks a broker that hangs again and again: metadata,
// coordinator, offsets, records, one after the other.
const (
	patience  = 4 * time.Second // with a broker; its own limit is 3 s
	shunned   = 2 * time.Second // for how long one that let somebody wait in vain is not asked again
	mistrust  = time.Second     // how long it is waited for then
	forgetful = 8 * time.Second // after which it gets all of patience again
)

// Kafka's requests that a broker may rightly answer late: they wait for the other
// members of the group.
const (
	keyJoinGroup = 11
	keySyncGroup = 14
)

// impatient dials connections that give a silent broker up within patience. For a
// while it dials that one no more: sarama prefers whoever has the fewest requests
// under way, which is a broker that hangs, and holds a lock until it answers.
type impatient struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	silent map[string]silence // by address
}

// silence is what is held against a broker.
type silence struct {
	since time.Time // when somebody had waited for all of patience
	last  time.Time // when somebody last waited in vain
}

func newImpatient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *impatient {
	return &impatient{dial: dial, silent: map[string]silence{}}
}

// Dial implements proxy.Dialer.
func (d *impatient) Dial(network, address string) (net.Conn, error) {
	d.mu.Lock()
	since := time.Since(d.silent[address].last)
	d.mu.Unlock()
	if since < shunned {
		return nil, fmt.Errorf("broker %s answered nothing %v ago", address, since)
	}
	c, err := d.dial(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	dialed := &conn{Conn: c, dialer: d, address: address}
	if d.limit(address) == patience {
		return dialed, nil
	}
	if err := dialed.prove(); err != nil {
		return nil, errors.Join(fmt.Errorf("broker %s: %w", address, err), c.Close())
	}
	return dialed, nil
}

// limit is how long a broker may be silent.
func (d *impatient) limit(address string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.silent[address].since) < forgetful {
		return mistrust
	}
	return patience
}

// inVain notes that a broker has let somebody wait. Only who waited for all of
// patience prolongs the mistrust: one that is merely slow would never leave it.
func (d *impatient) inVain(address string, full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.silent[address]
	if x.last = time.Now(); full {
		x.since = x.last
	}
	d.silent[address] = x
}

func (d *impatient) answered(address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.silent, address)
}

// conn is a connection on which each read has the deadline that its request deserves.
type conn struct {
	net.Conn
	dialer  *impatient
	address string
	late    atomic.Int64 // a deadline that somebody else set is kept until then, in Unix nanoseconds
	full    atomic.Bool  // all of patience was given to the read under way
}

// prove wants an answer to what every broker answers anybody at once. The kernel of one
// that hangs takes connections, and what is asked first may be what takes its time.
func (c *conn) prove() error {
	if err := c.SetDeadline(time.Now().Add(mistrust)); err != nil {
		return fmt.Errorf("asking it what it speaks: %w", err)
	}
	c.full.Store(false)
	request := kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrApiVersionsRequest(), 0)
	if _, err := c.Conn.Write(request); err != nil {
		return fmt.Errorf("asking it what it speaks: %w", err)
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return fmt.Errorf("waiting for what it speaks: %w", err)
	}
	if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
		return fmt.Errorf("waiting for what it speaks: %w", err)
	}
	return c.SetDeadline(time.Time{})
}

// Write sees what is asked: sarama writes a request as a whole, its size and its key
// first. Who lets others wait in vain is not given longer for it.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) >= 6 && c.dialer.limit(c.address) == patience {
		if key := binary.BigEndian.Uint16(b[4:]); key == keyJoinGroup || key == keySyncGroup {
			c.late.Store(time.Now().Add(readTimeout).UnixNano())
		}
	}
	return c.Conn.Write(b)
}

// SetReadDeadline implements net.Conn. sarama calls it before it waits for an answer.
func (c *conn) SetReadDeadline(t time.Time) error {
	now := time.Now()
	limit := c.dialer.limit(c.address)
	c.full.Store(limit == patience)
	if at := now.Add(limit); now.UnixNano() >= c.late.Load() && at.Before(t) {
		t = at
	}
	return c.Conn.SetReadDeadline(t)
}

// Read notes whether the broker answers.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch {
	case err == nil:
		if !c.full.Swap(true) {
			c.dialer.answered(c.address)
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.dialer.inVain(c.address, c.full.Load())
	}
	return n, err
}
