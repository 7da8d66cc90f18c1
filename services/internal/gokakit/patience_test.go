package gokakit

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	never    = -1
	metadata = 3 // the key of such a request
)

// slow is a broker at the other end of pipes, which answers after a while, if at all.
type slow struct {
	delay atomic.Int64 // for every answer, or never
	joins bool         // only those that wait for others are late
}

// dialer is an impatient one to the broker.
func (b *slow) dialer() *impatient {
	return newImpatient(func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go b.serve(theirs)
		return ours, nil
	})
}

func (b *slow) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		key, delay := binary.BigEndian.Uint16(body), time.Duration(b.delay.Load())
		switch {
		case delay == never:
			continue
		case key == keyJoinGroup || key == keySyncGroup || !b.joins:
			time.Sleep(delay)
		}
		if _, err := c.Write(append([]byte{0, 0, 0, 6}, "answer"...)); err != nil {
			return
		}
	}
}

// refused is what ask returns where nobody was dialed.
const refused = -1

// ask sends a request of this key as sarama does, on a connection of its own unless
// there is one, and returns how long it takes to give up, or 0 if there is an answer.
func ask(t *testing.T, d *impatient, c net.Conn, key uint16) time.Duration {
	t.Helper()
	begin := time.Now()
	if c == nil {
		var err error
		if c, err = d.Dial("tcp", "broker:9092"); err != nil {
			if waited := time.Since(begin); waited > 0 {
				return waited
			}
			return refused
		}
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write(append(binary.BigEndian.AppendUint16([]byte{0, 0, 0, 4}, key), 0, 0)); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(readTimeout)); err != nil {
		t.Fatal(err)
	}
	switch _, err := io.ReadFull(c, make([]byte, 10)); {
	case err == nil:
		return 0
	case !errors.Is(err, os.ErrDeadlineExceeded):
		t.Fatal(err)
	}
	return time.Since(begin)
}

// TestPatience: who hangs is waited for once, then left alone, then asked briefly.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slow{}
		d := b.dialer()
		for i, x := range []struct {
			after time.Duration
			key   uint16
			delay time.Duration
			want  time.Duration
		}{
			{0, metadata, 3500 * time.Millisecond, 0},          // slow, and not dead
			{0, metadata, never, patience},                     // it hangs
			{0, metadata, never, refused},                      // everybody else hears of it
			{shunned - 1, metadata, 0, refused},                // for a while
			{1, metadata, never, mistrust},                     // does it still hang?
			{time.Second, metadata, never, refused},            //
			{time.Second, metadata, 2 * time.Second, mistrust}, // slow, and in disgrace
			{shunned, metadata, 500 * time.Millisecond, 0},     // it is back
			{0, metadata, 3 * time.Second, 0},                  // and as good as any
			{0, keyJoinGroup, 7 * time.Second, 0},              // waits for the others
			{0, keySyncGroup, never, readTimeout},
		} {
			time.Sleep(x.after)
			b.delay.Store(int64(x.delay))
			if got := ask(t, d, nil, x.key); got != x.want {
				t.Errorf("request %d, answered after %v: gave up after %v, want %v", i, x.delay, got, x.want)
			}
		}
	})
}

// TestDisgraceEnds: a broker that has become slow, but lives, is not shut out for
// ever by what it did once.
func TestDisgraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slow{}
		d := b.dialer()
		b.delay.Store(never)
		ask(t, d, nil, metadata)
		b.delay.Store(int64(3 * time.Second))
		begin := time.Now()
		for ask(t, d, nil, metadata) != 0 {
			if time.Since(begin) > forgetful+patience {
				t.Fatal("a broker that answers after 3 s is still given up")
			}
			time.Sleep(250 * time.Millisecond)
		}
	})
}

// TestJoinsDoNotHideSilence: what may rightly take long is not what a broker that lets
// others wait in vain is given long for. It has to answer something else first.
func TestJoinsDoNotHideSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slow{joins: true}
		d := b.dialer()
		old, err := d.Dial("tcp", "broker:9092")
		if err != nil {
			t.Fatal(err)
		}
		b.delay.Store(never)
		if got := ask(t, d, nil, metadata); got != patience {
			t.Fatalf("the first gave up after %v", got)
		}
		if got := ask(t, d, old, keyJoinGroup); got != mistrust {
			t.Errorf("to join on an old connection took %v, want %v", got, mistrust)
		}
		time.Sleep(shunned)
		if got := ask(t, d, nil, keyJoinGroup); got != mistrust {
			t.Errorf("to join on a new connection took %v, want %v", got, mistrust)
		}
		time.Sleep(shunned)
		b.delay.Store(int64(7 * time.Second))
		if got := ask(t, d, nil, keyJoinGroup); got != 0 {
			t.Errorf("gave up to join after %v, though the broker is back", got)
		}
	})
}
