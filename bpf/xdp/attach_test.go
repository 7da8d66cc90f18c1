package xdp

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/bpf/nic"
)

func dropThere(a Attachment) Entry {
	return Entry{Match: Match{Source: netip.PrefixFrom(thereAddress, 32)}, Interfaces: 1 << a.Slot, Action: ActionDrop}
}

// TestLifeCycle lets go of a data plane as a killed process would, and takes it
// up again while packets keep coming: none gets past the lease, and each is
// counted.
func TestLifeCycle(t *testing.T) {
	for _, mode := range []Mode{ModeNative, ModeGeneric, ModeTCX} {
		t.Run(mode.String(), func(t *testing.T) {
			w := newWire(t, 1500)
			cfg := Config{PinPath: pinPath(t)}
			d, a := w.open(mode, cfg)
			d.SetFilterMode(a.Slot, FilterEnforce)
			w.must(d.Put([]Entry{dropThere(a)}))
			flow := w.udp()
			w.must(d.Close())
			flow.expect(false, "while no process is there")

			stop, sent := make(chan struct{}), make(chan uint64)
			go func() {
				n := uint64(1) // that of before
				for {
					select {
					case <-stop:
						sent <- n
						return
					default:
						if _, err := flow.from.Write([]byte{0}); err == nil {
							n++
						}
						// Faster than this, a busy machine drops packets
						// before the program sees them.
						time.Sleep(50 * time.Microsecond)
					}
				}
			}()
			for range 2 {
				var again Attachment
				d, again = w.open(ModeAuto, cfg)
				if !again.Adopted || again.Mode != mode || again.Slot != a.Slot || !d.Adopted() {
					t.Errorf("adopted as %+v, was %+v", again, a)
				}
				w.must(d.Close())
			}
			close(stop)
			n := <-sent
			d, a = w.open(ModeAuto, cfg)
			verdicts, err := d.Verdicts(a.Slot)
			w.must(err)
			if len(verdicts) != 1 || verdicts["drop_source"] != n || n < 10 {
				t.Errorf("verdicts %v, want %d dropped and nothing else", verdicts, n)
			}
			flow.expectNothing()
			w.must(d.Remove())
			if _, err := os.Stat(cfg.PinPath); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the pins are still there: %v", err)
			}
			flow.expect(true, "after it is removed")
		})
	}
}

// foreign loads a program that passes everything.
func foreign(t *testing.T, kind ebpf.ProgramType, pass int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "foreign", Type: kind, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, pass), asm.Return()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestForeignXDPStays checks that nobody's program is ever replaced.
func TestForeignXDPStays(t *testing.T) {
	w := newWire(t, 1500)
	other, err := link.AttachXDP(link.XDPOptions{Program: foreign(t, ebpf.XDP, xdpPass), Interface: w.here.Index})
	w.must(err)
	defer other.Close()
	d, err := Open(Config{SourceWays: 1 << 10, MaxLeases: 1024})
	w.must(err)
	defer d.Close()
	for _, mode := range []Mode{ModeNative, ModeGeneric} {
		if _, err := d.Attach(w.here.Index, AttachOptions{Mode: mode}); !errors.Is(err, ErrForeignProgram) {
			t.Errorf("%s: %v, want %v", mode, err, ErrForeignProgram)
		}
	}
	if linkedTo(other) != w.here.Index {
		t.Error("the foreign program is gone")
	}
	if len(d.Attachments()) != 0 {
		t.Errorf("attached: %v", d.Attachments())
	}
}

// TestAttempts checks what is tried on which kind of interface, and in which
// order.
func TestAttempts(t *testing.T) {
	for _, c := range []struct {
		nic    nic.Interface
		wanted Mode
		want   []Mode
	}{
		{nic.Interface{Driver: "ixgbe", Ethernet: true}, ModeAuto, []Mode{ModeNative, ModeTCX, ModeGeneric}},
		{nic.Interface{Kind: "bond", Ethernet: true}, ModeAuto, []Mode{ModeNative, ModeTCX, ModeGeneric}},
		{nic.Interface{Kind: "veth", Ethernet: true}, ModeAuto, []Mode{ModeTCX, ModeNative, ModeGeneric}},
		{nic.Interface{Kind: "macvlan", Ethernet: true}, ModeAuto, []Mode{ModeTCX, ModeNative, ModeGeneric}},
		{nic.Interface{Kind: "wireguard"}, ModeAuto, []Mode{ModeTCX}},
		{nic.Interface{Kind: "veth", Ethernet: true}, ModeNative, []Mode{ModeNative}},
		{nic.Interface{Driver: "ixgbe", Ethernet: true}, ModeTCX, []Mode{ModeTCX}},
	} {
		var got []Mode
		for _, a := range attempts(c.nic, c.wanted) {
			got = append(got, a.mode)
			if a.reason == "" {
				t.Errorf("%s on %s without a reason", a.mode, c.nic.What())
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s on %s: %v, want %v", c.wanted, c.nic.What(), got, c.want)
		}
	}
	for _, name := range []string{"auto", "native", "generic", "offload", "tcx"} {
		if m, err := ParseMode(name); err != nil || m.String() != name {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	if _, err := ParseMode("skb"); err == nil {
		t.Error("skb is a mode")
	}
}

// TestForeignTCXStays checks that Weir stands before programs that would let
// packets past it, and leaves them where they are.
func TestForeignTCXStays(t *testing.T) {
	w := newWire(t, 1500)
	d, _ := w.open(ModeTCX, Config{})
	w.must(d.Detach(w.here.Index))
	const tcxPass = 0 // ends the line
	other, err := link.AttachTCX(link.TCXOptions{Program: foreign(t, ebpf.SchedCLS, tcxPass), Interface: w.here.Index, Attach: ebpf.AttachTCXIngress})
	w.must(err)
	defer other.Close()
	a, err := d.Attach(w.here.Index, AttachOptions{Mode: ModeTCX})
	w.must(err)
	d.SetFilterMode(a.Slot, FilterEnforce)
	flow := w.udp()
	flow.expect(true, "without a lease")
	w.must(d.Put([]Entry{dropThere(a)}))
	flow.expect(false, "under a lease")
	w.must(d.Detach(w.here.Index))
	flow.expect(true, "after it is detached")
	if linkedTo(other) != w.here.Index {
		t.Error("the foreign program is gone")
	}
}

// TestInterfaceGone checks that what was pinned for an interface that is no more
// does not stay, and that one of the same name is attached afresh.
func TestInterfaceGone(t *testing.T) {
	for _, mode := range []Mode{ModeNative, ModeTCX} {
		t.Run(mode.String(), func(t *testing.T) {
			w := newWire(t, 1500)
			cfg := Config{PinPath: pinPath(t)}
			d, a := w.open(mode, cfg)
			pin := d.linkPath(a.Slot)
			w.must(d.Close())
			w.must(netlink.LinkDel(w.here))
			w.plug("here", 1500)
			d, again := w.open(mode, cfg)
			if again.Adopted || again.Ifindex == a.Ifindex || len(d.Attachments()) != 1 {
				t.Errorf("attached %+v of %v, was %+v", again, d.Attachments(), a)
			}
			w.must(d.Remove())
			if left, _ := filepath.Glob(pin); left != nil {
				t.Errorf("%v is still pinned", left)
			}
		})
	}
}

// TestAutoChooses checks the mode that each kind of interface gets, and that it
// says why.
func TestAutoChooses(t *testing.T) {
	w := newWire(t, 1500)
	d, a := w.open(ModeAuto, Config{})
	if lacksTCX() {
		if a.Mode != ModeNative || !strings.Contains(a.Reason, "tcx was refused") {
			t.Errorf("veth without TCX: %+v", a)
		}
		return
	}
	if a.Mode != ModeTCX || !strings.Contains(a.Reason, "segmentation offload") {
		t.Errorf("veth: %+v", a)
	}
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI}
	w.must(netlink.LinkAdd(tun))
	loopback, err := netlink.LinkByName("lo")
	w.must(err)
	for index, reason := range map[int]string{tun.Index: "no Ethernet header", loopback.Attrs().Index: "loopback"} {
		a, err := d.Attach(index, AttachOptions{})
		if err != nil || a.Mode != ModeTCX || !strings.Contains(a.Reason, reason) {
			t.Errorf("want tcx because of %q, got %+v, %v", reason, a, err)
		}
	}
	w.must(d.Detach(tun.Index))
	if _, err := d.Attach(tun.Index, AttachOptions{Mode: ModeNative}); err == nil || !strings.Contains(err.Error(), "only tcx") {
		t.Errorf("native on an interface without Ethernet: %v", err)
	}
	if _, err := d.Attach(tun.Index, AttachOptions{Mode: ModeOffload}); err == nil {
		t.Error("offload on an interface without Ethernet")
	}
	w.must(d.Detach(w.here.Index))
	if _, err := d.Attach(w.here.Index, AttachOptions{Mode: ModeOffload}); err == nil || !strings.Contains(err.Error(), "offload was refused") {
		t.Errorf("offload to a veth: %v", err)
	}
	if _, err := d.Attach(1<<30, AttachOptions{}); !errors.Is(err, unix.ENODEV) {
		t.Errorf("no such interface: %v", err)
	}
}
