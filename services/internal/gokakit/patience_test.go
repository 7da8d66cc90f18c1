package gokakit

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// hanging is an impatient dialer to a broker that is at the other end of the pipes.
func hanging() (*impatient, func() net.Conn) {
	ends := make(chan net.Conn, 10)
	d := newImpatient(func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		ends <- theirs
		return ours, nil
	})
	return d, func() net.Conn { return <-ends }
}

// refused is what ask returns where there was no connection.
const refused = -1

// ask sends a request of this key as sarama does, and returns how long it takes to
// give up, or 0 if there is an answer. A broker answers after delay, if at all.
func ask(t *testing.T, d *impatient, broker func() net.Conn, key uint16, delay time.Duration) time.Duration {
	t.Helper()
	c, err := d.Dial("tcp", "broker:9092")
	if err != nil {
		return refused
	}
	theirs := broker()
	defer func() { _ = errors.Join(c.Close(), theirs.Close()) }()
	request := binary.BigEndian.AppendUint16([]byte{0, 0, 0, 4}, key)
	go func() {
		if _, err := io.ReadFull(theirs, make([]byte, len(request)+2)); err != nil || delay < 0 {
			return
		}
		time.Sleep(delay)
		_, _ = theirs.Write([]byte("answer"))
	}()
	if _, err := c.Write(append(request, 0, 0)); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := c.SetReadDeadline(begin.Add(readTimeout)); err != nil {
		t.Fatal(err)
	}
	switch _, err := io.ReadFull(c, make([]byte, 6)); {
	case err == nil:
		return 0
	case !errors.Is(err, os.ErrDeadlineExceeded):
		t.Fatal(err)
	}
	return time.Since(begin)
}

// TestPatience: who hangs is waited for once, then left alone, then asked briefly.
func TestPatience(t *testing.T) {
	const never = -1
	const metadata = 3
	synctest.Test(t, func(t *testing.T) {
		d, broker := hanging()
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
			if got := ask(t, d, broker, x.key, x.delay); got != x.want {
				t.Errorf("request %d, answered after %v: gave up after %v, want %v", i, x.delay, got, x.want)
			}
		}
	})
}

// TestDisgraceEnds: a broker that has become slow, but lives, is not shut out for
// ever by what it did once.
func TestDisgraceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, broker := hanging()
		ask(t, d, broker, 3, -1)
		begin := time.Now()
		for ask(t, d, broker, 3, 3*time.Second) != 0 {
			if time.Since(begin) > forgetful+patience {
				t.Fatal("a broker that answers after 3 s is still given up")
			}
			time.Sleep(250 * time.Millisecond)
		}
	})
}
