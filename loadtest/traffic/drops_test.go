package traffic_test

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/traffic"
)

// dropAll attaches a program to the victim's data interface that drops every
// frame.
func dropAll(t *testing.T, l *lab.Lab) {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 1), asm.Return()}, // XDP_DROP
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	err = l.Do(lab.Victim, func() error {
		ifi, err := net.InterfaceByName(lab.DataInterface)
		if err != nil {
			return err
		}
		attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: ifi.Index, Flags: link.XDPDriverMode})
		if err == nil {
			t.Cleanup(func() { attached.Close() })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestEveryDropIsSeen drops a flood as fast as it can be sent: the sender's
// count, taken before a ring of 256 frames, and the driver's count of drops,
// taken behind it, are the same.
func TestEveryDropIsSeen(t *testing.T) {
	l := newLab(t, lab.Config{ID: "tdrops", Silent: true})
	dropAll(t, l)
	meter, err := l.NewDropMeter()
	if err != nil {
		t.Fatal(err)
	}
	defer meter.Close()
	const count = 300_000
	var last traffic.FloodReport
	err = l.Do(lab.Clients, func() (err error) {
		last, err = traffic.RawFlood{
			Interface: lab.DataInterface, Destination: lab.VictimAddress, UDP: true, Payload: 20,
			Sources: []netip.Addr{lab.UDPAttackers.Addr().Next()}, Count: count,
		}.Run(t.Context(), io.Discard)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		drops, err := meter.Drops()
		if err != nil {
			t.Fatal(err)
		}
		if drops == count {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("sent %d, %d were dropped", last.Packets, drops)
		}
	}
	t.Logf("%d packets in %v", count, last.Last-last.First)
}
