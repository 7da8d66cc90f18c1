package xdp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Addresses of the wire's ends.
var (
	hereAddress  = netip.MustParseAddr("10.77.0.1")
	thereAddress = netip.MustParseAddr("10.77.0.2")
)

// wire is a veth pair between two new namespaces. The test runs in the one with
// the end "here", on which the data plane is.
type wire struct {
	t           testing.TB
	there       netns.NsHandle
	here        *netlink.Veth
	thereHandle *netlink.Handle
	thereIndex  int
}

// newWire moves the test into a namespace of its own. The namespaces end with
// the thread, which is never used for anything else.
func newWire(t testing.TB, mtu int) *wire {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("making namespaces needs root")
		}
		t.Skip("making namespaces needs root")
	}
	runtime.LockOSThread()
	w := &wire{t: t}
	here, err := netns.New()
	w.must(err)
	defer here.Close()
	w.silence()
	w.there, err = netns.New()
	w.must(err)
	w.silence()
	t.Cleanup(func() { w.there.Close() })
	w.must(netns.Set(here))
	w.thereHandle, err = netlink.NewHandleAt(w.there)
	w.must(err)
	t.Cleanup(w.thereHandle.Close)
	w.plug("here", mtu)
	return w
}

// silence keeps IPv6 from announcing itself on the wire.
func (w *wire) silence() {
	for _, name := range []string{"all", "default"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
}

// plug makes the veth pair.
func (w *wire) plug(name string, mtu int) {
	w.t.Helper()
	w.here = &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu, NumRxQueues: 1, NumTxQueues: 1}, PeerName: "there", PeerNamespace: netlink.NsFd(w.there)}
	w.must(netlink.LinkAdd(w.here))
	link, err := netlink.LinkByName(name)
	w.must(err)
	w.here.Index = link.Attrs().Index
	w.must(netlink.AddrAdd(w.here, &netlink.Addr{IPNet: ipNet(hereAddress, 24)}))
	w.must(netlink.LinkSetUp(w.here))
	far, err := w.thereHandle.LinkByName("there")
	w.must(err)
	w.thereIndex = far.Attrs().Index
	w.must(w.thereHandle.AddrAdd(far, &netlink.Addr{IPNet: ipNet(thereAddress, 24)}))
	w.must(w.thereHandle.LinkSetMTU(far, mtu))
	w.must(w.thereHandle.LinkSetUp(far))
	// Nothing but the test's own packets shall be on the wire.
	for _, n := range []struct {
		handle *netlink.Handle
		index  int
		other  netip.Addr
		mac    net.HardwareAddr
	}{{w.thereHandle, w.thereIndex, hereAddress, link.Attrs().HardwareAddr}, {nil, w.here.Index, thereAddress, far.Attrs().HardwareAddr}} {
		neigh := &netlink.Neigh{LinkIndex: n.index, State: netlink.NUD_PERMANENT, IP: n.other.AsSlice(), HardwareAddr: n.mac}
		if n.handle == nil {
			w.must(netlink.NeighSet(neigh))
		} else {
			w.must(n.handle.NeighSet(neigh))
		}
	}
}

func ipNet(a netip.Addr, bits int) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(bits, a.BitLen())}
}

func (w *wire) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// far runs fn on a thread at the other end; sockets that it opens stay there.
func (w *wire) far(fn func() error) {
	w.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- errors.Join(netns.Set(w.there), fn())
	}()
	w.must(<-done)
}

// send puts frames on the wire from the other end. They are addressed to this
// one, whatever they said.
func (w *wire) send(frames ...frame) {
	w.t.Helper()
	w.far(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		link, err := netlink.LinkByName("there")
		if err != nil {
			return err
		}
		for _, f := range frames {
			// Not IPv4, so that the sender's own kernel leaves it alone.
			to := &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Protocol: 0xffff}
			if err := unix.Sendto(fd, f, 0, to); err != nil {
				return fmt.Errorf("sending %d bytes: %w", len(f), err)
			}
		}
		return nil
	})
}

// open loads a data plane and attaches it to the wire.
func (w *wire) open(mode Mode, cfg Config) (*Datapath, Attachment) {
	w.t.Helper()
	cfg.SourceWays, cfg.MaxLeases, cfg.BootID = 1<<10, 1024, "boot"
	d, err := Open(cfg)
	w.must(err)
	w.t.Cleanup(func() { d.Close() })
	a, err := d.Attach(w.here.Index, AttachOptions{Mode: mode})
	if errors.Is(err, ErrUnsupported) && lacksTCX() {
		w.t.Skip("this kernel has no TCX")
	}
	w.must(err)
	return d, a
}

// lacksTCX reports whether the kernel is older than TCX, which came with 6.6.
func lacksTCX() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	var major, minor int
	n, _ := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	return n == 2 && (major < 6 || major == 6 && minor < 6)
}

// pinPath returns a directory on a bpffs that is gone after the test.
func pinPath(t testing.TB) string {
	path := filepath.Join("/sys/fs/bpf", fmt.Sprintf("weir-test-%d-%d", os.Getpid(), time.Now().UnixNano()))
	t.Cleanup(func() { os.RemoveAll(path) })
	return path
}

// counted drains until n packets have been counted, and returns what the windows
// add up to: what is not IP or malformed, and the totals of what is.
func (w *wire) counted(d *Datapath, n uint64) (Window, Counters) {
	w.t.Helper()
	var sum Counters
	var last Window
	seen := uint64(0)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		out, err := d.Drain()
		w.must(err)
		for i := range out.Windows {
			checkSums(w.t, &out.Windows[i])
			addUp(&sum, &out.Windows[i].Totals)
			seen += out.Windows[i].Totals.Packets + out.Windows[i].NonIP + out.Windows[i].Malformed
			last.NonIP += out.Windows[i].NonIP
			last.NonIPBytes += out.Windows[i].NonIPBytes
			last.Malformed += out.Windows[i].Malformed
			last.MalformedBytes += out.Windows[i].MalformedBytes
		}
		d.Commit()
		if seen >= n {
			return last, sum
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("counted %d packets of %d", seen, n)
		}
	}
}

func addUp(to, c *Counters) {
	to.Packets += c.Packets
	to.Bytes += c.Bytes
	to.UDPBytes += c.UDPBytes
	to.Dropped += c.Dropped
	for i := range c.ByClass {
		to.ByClass[i] += c.ByClass[i]
	}
}
