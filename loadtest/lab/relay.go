package lab

import (
	"fmt"
	"io"
	"net"
	"sync"
)

// Relay makes a TCP address of the loopback reachable under the same address
// inside ns, until the lab is closed: for a broker that listens on the
// loopback only and tells its clients so.
func (l *Lab) Relay(ns Namespace, address string) error {
	var listener net.Listener
	err := l.Do(ns, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	if err != nil {
		return fmt.Errorf("relaying %s: %w", address, err)
	}
	l.relays = append(l.relays, listener)
	go func() {
		for {
			inside, err := listener.Accept()
			if err != nil {
				return // closed with the lab
			}
			go relay(inside, address)
		}
	}()
	return nil
}

// relay copies both ways until one side ends; a broker that is gone then looks
// gone from inside as well.
func relay(inside net.Conn, address string) {
	defer inside.Close()
	outside, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer outside.Close()
	var once sync.Once
	done := make(chan struct{})
	finish := func() { once.Do(func() { close(done) }) }
	go func() { _, _ = io.Copy(outside, inside); finish() }()
	go func() { _, _ = io.Copy(inside, outside); finish() }()
	<-done
}
