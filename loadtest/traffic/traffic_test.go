package traffic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

func newLab(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	needRoot(t)
	l, err := lab.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func TestSpoofedSourcesAreDistinctAndOutsideTheLab(t *testing.T) {
	const n = 100_000
	seen := make(map[netip.Addr]bool, n)
	networks := make(map[netip.Prefix]bool)
	for _, a := range traffic.SpoofedSources(n, 7) {
		seen[a] = true
		networks[netip.PrefixFrom(a, 16).Masked()] = true
		if !a.IsGlobalUnicast() || a.IsPrivate() || lab.OrdinarySources.Contains(a) {
			t.Fatalf("%s is a source", a)
		}
	}
	if len(seen) != n {
		t.Errorf("%d distinct sources, want %d", len(seen), n)
	}
	if len(networks) < 40_000 {
		t.Errorf("the sources lie in %d /16 networks, want them spread", len(networks))
	}
}

func TestGeneratorsRefuseToLeaveTheLab(t *testing.T) {
	elsewhere := netip.MustParseAddr("192.0.0.1")
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	sources := traffic.SourcesOf(lab.UDPAttackers, 1)
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, traffic.ErrRefused) {
			t.Errorf("%s: %v, want ErrRefused", what, err)
		}
	}
	generators := func(where string) {
		_, err := traffic.RawFlood{Interface: "lo", Destination: elsewhere, Sources: sources, UDP: true, Count: 1}.Run(ctx, io.Discard)
		check(where+": raw flood", err)
		_, err = traffic.HTTPFlood{Server: netip.AddrPortFrom(elsewhere, 80), Sources: sources, Workers: 1, Duration: time.Millisecond}.Run(ctx, io.Discard)
		check(where+": HTTP flood", err)
		err = traffic.OrdinaryClients{Server: netip.AddrPortFrom(elsewhere, 80), Sources: sources, Rate: 1, Duration: time.Millisecond}.Run(ctx, io.Discard)
		check(where+": ordinary clients", err)
	}
	generators("outside a lab")
	_, err := traffic.NewSender("lo")
	check("outside a lab: sender", err)
	_, err = traffic.RawFlood{Interface: "lo", Destination: lab.VictimAddress, Sources: sources, UDP: true, Count: 1}.Run(ctx, io.Discard)
	check("outside a lab, with the victim's address: raw flood", err)
	l := newLab(t, lab.Config{ID: "trefuse"})
	if err := l.Do(lab.Clients, func() error { generators("inside a lab"); return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestRawFloodArrivesWhole sends as fast as possible and compares the sender's
// count with what the receiving interface took and what the kernel dropped before
// it because nobody came to empty its queue.
func TestRawFloodArrivesWhole(t *testing.T) {
	l := newLab(t, lab.Config{ID: "tflood", Silent: true})
	const count = 200_000
	for _, udp := range []bool{true, false} {
		before, dropped := wires(t, l)
		var out bytes.Buffer
		var last traffic.FloodReport
		err := l.Do(lab.Clients, func() (err error) {
			last, err = traffic.RawFlood{
				Interface: lab.DataInterface, Destination: lab.VictimAddress, Port: 7, UDP: udp, Payload: 20,
				Sources: traffic.SpoofedSources(1000, 1), Count: count,
			}.Run(t.Context(), &out)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if last.Packets != count || !last.Done || last.First == 0 || last.Last <= last.First {
			t.Errorf("last report: %+v, want %d packets", last, count)
		}
		deadline := time.Now().Add(20 * time.Second) // what waits in the queue has to be taken out of it
		for {
			after, lost := wires(t, l)
			packets, bytes := after.ReceivedPackets-before.ReceivedPackets, after.ReceivedBytes-before.ReceivedBytes
			lost -= dropped
			if packets+lost == count && bytes == last.Bytes/count*packets && packets > count/2 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("udp=%v: sent %d packets of %d bytes, arrived %d of %d, dropped on the way %d",
					udp, last.Packets, last.Bytes, packets, bytes, lost)
			}
			time.Sleep(time.Millisecond)
		}
		var line traffic.FloodReport
		if err := json.Unmarshal(bytes.TrimSpace(out.Bytes()[bytes.LastIndexByte(bytes.TrimSpace(out.Bytes()), '\n')+1:]), &line); err != nil || line != last {
			t.Errorf("last line is %+v (%v), want %+v", line, err, last)
		}
	}
}

// wires returns the counters of the receiving interface, and how many frames the
// sending one could not deliver.
func wires(t *testing.T, l *lab.Lab) (receiver lab.WireStats, lost uint64) {
	t.Helper()
	sender, err := l.Wire(lab.Clients)
	if err != nil {
		t.Fatal(err)
	}
	if receiver, err = l.Wire(lab.Victim); err != nil {
		t.Fatal(err)
	}
	return receiver, sender.SentDropped
}

// TestKernelAcceptsTheFrames receives a flood's datagrams with a socket, which
// takes none with a wrong checksum.
func TestKernelAcceptsTheFrames(t *testing.T) {
	l := newLab(t, lab.Config{ID: "tframes"})
	var conn *net.UDPConn
	err := l.Do(lab.Victim, func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: lab.VictimAddress.AsSlice(), Port: 5000})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	source := lab.UDPAttackers.Addr().Next()
	for _, payload := range []int{0, 1, 4, 33} {
		err := l.Do(lab.Clients, func() error {
			_, err := traffic.RawFlood{
				Interface: lab.DataInterface, Destination: lab.VictimAddress, Port: 5000, UDP: true,
				Payload: payload, Sources: []netip.Addr{source}, Count: 1,
			}.Run(t.Context(), io.Discard)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buffer := make([]byte, 2000)
		n, from, err := conn.ReadFromUDPAddrPort(buffer)
		if err != nil || n != payload || from.Addr() != source {
			t.Errorf("payload of %d: received %d bytes from %v, %v", payload, n, from, err)
		}
	}
}

// freePort returns an address of loopback at which nobody listens.
func freePort(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := netip.MustParseAddrPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// TestServerAnswersClientsAndFlood runs the server, ordinary clients and the
// HTTP flood together.
func TestServerAnswersClientsAndFlood(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	address := freePort(t)
	ready := make(chan struct{})
	served := make(chan error, 1)
	go func() {
		served <- traffic.Serve(ctx, []netip.AddrPort{address}, func() { close(ready) })
	}()
	select {
	case <-ready:
	case err := <-served:
		t.Fatal(err)
	}
	flooded := make(chan traffic.FloodReport, 1)
	go func() {
		last, err := traffic.HTTPFlood{
			Server: address, Sources: []netip.Addr{netip.MustParseAddr("127.0.0.3")}, Workers: 4, Rate: 200, Duration: time.Second,
		}.Run(ctx, io.Discard)
		if err != nil {
			t.Error(err)
		}
		flooded <- last
	}()
	var out bytes.Buffer
	err := traffic.OrdinaryClients{
		Server: address, Sources: []netip.Addr{netip.MustParseAddr("127.0.0.2")}, Rate: 50, NewEvery: 3,
		Timeout: time.Second, Duration: time.Second,
	}.Run(ctx, &out)
	if err != nil {
		t.Fatal(err)
	}
	var kept, fresh int
	for dec := json.NewDecoder(&out); ; {
		var r traffic.ClientsReport
		if err := dec.Decode(&r); err != nil {
			break
		}
		for _, q := range r.Requests {
			if q.Error != "" || q.Latency <= 0 {
				t.Errorf("request %+v", q)
			}
			if q.NewConnection {
				fresh++
			} else {
				kept++
			}
		}
	}
	if kept < 15 || fresh < 8 {
		t.Errorf("%d requests over kept and %d over new connections", kept, fresh)
	}
	if last := <-flooded; last.Requests < 100 || last.Answered < last.Requests-4 || last.Requests > 250 {
		t.Errorf("flood: %+v, want about 200 requests, all answered", last)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
