package nic

import (
	"errors"
	"net"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// TestListEqualsNet holds what is read against what the standard library reads.
func TestListEqualsNet(t *testing.T) {
	all, err := List()
	if err != nil {
		t.Fatal(err)
	}
	want, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(want) || len(all) == 0 {
		t.Fatalf("%d interfaces, want %d", len(all), len(want))
	}
	for i, n := range all {
		w := want[i]
		if n.Index != w.Index || n.Name != w.Name || n.MTU != w.MTU || n.Up != (w.Flags&net.FlagUp != 0) || n.Loopback != (w.Flags&net.FlagLoopback != 0) {
			t.Errorf("%+v, want %+v", n, w)
		}
	}
	if _, err := Read(1 << 30); !errors.Is(err, unix.ENODEV) {
		t.Errorf("an interface that is not there: %v", err)
	}
}

// TestKinds makes one interface of each kind and reads it.
func TestKinds(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("making interfaces needs root")
		}
		t.Skip("making interfaces needs root")
	}
	runtime.LockOSThread() // never unlocked: the namespace ends with the thread
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v0", MTU: 9000, NumRxQueues: 2, NumTxQueues: 2}, PeerName: "v1"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "t0"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI}
	if err := netlink.LinkAdd(tun); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("v0")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Read(link.Attrs().Index)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Interface{Index: got.Index, Name: "v0", Kind: "veth", Driver: "veth", MTU: 9000, Ethernet: true, Queues: 2, MaxQueues: got.MaxQueues}); got != want {
		t.Errorf("veth: %+v, want %+v", got, want)
	}
	if got, err = Read(tun.Index); err != nil || got.Kind != "tun" || got.Ethernet {
		t.Errorf("tun: %+v, %v", got, err)
	}
}
