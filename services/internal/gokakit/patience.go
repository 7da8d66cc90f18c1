package gokakit

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// How long an answer is waited for. sarama has one time-out for all requests, which
// must outlast a rebalance, and asks a broker that hangs again and again: metadata,
// coordinator, offsets, records, one after the other.
const (
	patience  = 4 * time.Second // with a broker; its own limit is 3 s
	mistrust  = time.Second     // with one that has just let somebody wait in vain
	forgetful = 8 * time.Second // for how long that is held against it
)

// Kafka's requests that a broker may rightly answer late: they wait for the other
// members of the group.
const (
	keyJoinGroup = 11
	keySyncGroup = 14
)

// impatient dials connections that give a silent broker up within patience.
type impatient struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	silent map[string]time.Time // when somebody last waited in vain, by address
}

func newImpatient(dial func(ctx context.Context, network, address string) (net.Conn, error)) *impatient {
	return &impatient{dial: dial, silent: map[string]time.Time{}}
}

// Dial implements proxy.Dialer.
func (d *impatient) Dial(network, address string) (net.Conn, error) {
	c, err := d.dial(context.Background(), network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, dialer: d, address: address}, nil
}

// limit is how long a broker may be silent.
func (d *impatient) limit(address string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, ok := d.silent[address]; ok && time.Since(at) < forgetful {
		return mistrust
	}
	return patience
}

func (d *impatient) note(address string, silent bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if silent {
		d.silent[address] = time.Now()
	} else {
		delete(d.silent, address)
	}
}

// conn is a connection on which each read has the deadline that its request deserves.
type conn struct {
	net.Conn
	dialer  *impatient
	address string
	late    atomic.Int64 // a deadline that somebody else set is kept until then, in Unix nanoseconds
	full    atomic.Bool  // all of patience was given to the read under way
}

// Write sees what is asked: sarama writes a request as a whole, its size and its key
// first.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) >= 6 {
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

// Read holds it against a broker when it does not answer. Only who has waited for
// all of patience may do so: a broker that is slow would else stay in disgrace.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	switch {
	case err == nil:
		if !c.full.Load() {
			c.dialer.note(c.address, false)
			c.full.Store(true)
		}
	case errors.Is(err, os.ErrDeadlineExceeded) && c.full.Load():
		c.dialer.note(c.address, true)
	}
	return n, err
}
