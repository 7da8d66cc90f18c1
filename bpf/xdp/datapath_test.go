package xdp

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/cilium/ebpf"
)

const (
	xdpDrop = 1
	xdpPass = 2
)

// rig is a loaded datapath with programs that run without an interface.
type rig struct {
	*Datapath
	t        testing.TB
	programs map[Slot]*ebpf.Program
}

func newRig(t testing.TB, cfg Config) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("loading BPF needs root")
		}
		t.Skip("loading BPF needs root")
	}
	if cfg.SourceWays == 0 {
		cfg.SourceWays = 1 << 12
	}
	if cfg.MaxLeases == 0 {
		cfg.MaxLeases = 4096
	}
	if cfg.BootID == "" {
		cfg.BootID = "boot-1"
	}
	d, err := Open(cfg)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() { d.Close() })
	r := &rig{Datapath: d, t: t, programs: map[Slot]*ebpf.Program{}}
	r.use(0, FilterEnforce)
	return r
}

// takesFrags reports whether a slot of a rig takes frames that are spread over several
// buffers, and so any length; one that does not takes linearFrame bytes.
func takesFrags(s Slot) bool { return s%2 == 1 }

const linearFrame = 3000 // of a page, in which more than the frame lies

// use makes slot s exist without an interface.
func (r *rig) use(s Slot, m FilterMode) {
	r.t.Helper()
	p, err := r.loadProgram(s, "weir", variant{frags: takesFrags(s)})
	if err != nil {
		r.t.Fatalf("%+v", err)
	}
	r.t.Cleanup(func() { p.Close() })
	r.programs[s] = p
	r.slots[s].Ifindex = 1000 + uint32(s)
	r.SetFilterMode(s, m)
}

// run sends frame n times through slot s and returns the last verdict.
func (r *rig) run(s Slot, f frame, n uint32) uint32 {
	r.t.Helper()
	if len(f) < 14 {
		r.t.Fatalf("frames under 14 bytes do not fit BPF_PROG_TEST_RUN")
	}
	// A repeated run that a signal interrupts has counted some packets, and is
	// then run again as a whole; a single one cannot be interrupted.
	repeat := uint32(1)
	if n > 1000 { // whoever sends so many counts them by their verdicts
		repeat, n = n, 1
	}
	var ret uint32
	for range n {
		var err error
		if ret, err = r.programs[s].Run(&ebpf.RunOptions{Data: f, Repeat: repeat}); err != nil {
			r.t.Fatalf("%+v", err)
		}
	}
	return ret
}

// drain ends the window and returns slot 0's.
func (r *rig) drain() Window {
	r.t.Helper()
	return r.drains()[0]
}

// drains ends the window and returns that of every slot.
func (r *rig) drains() []Window {
	r.t.Helper()
	out, err := r.Drain()
	if err != nil {
		r.t.Fatalf("%+v", err)
	}
	if len(out.Windows) == 0 {
		r.t.Fatal("no window")
	}
	for i := range out.Windows {
		checkSums(r.t, &out.Windows[i])
	}
	return out.Windows
}

// checkSums holds every window against the invariant of the contract.
func checkSums(t testing.TB, w *Window) {
	t.Helper()
	sum := w.Other
	for _, s := range w.Sources.All() {
		sum.Packets += s.Packets
		sum.Bytes += s.Bytes
		sum.UDPBytes += s.UDPBytes
		sum.Dropped += s.Dropped
		for c := range s.ByClass {
			sum.ByClass[c] += s.ByClass[c]
		}
	}
	if sum != w.Totals {
		t.Fatalf("sources and other add up to %+v, totals say %+v", sum, w.Totals)
	}
}

func (r *rig) put(entries ...Entry) {
	r.t.Helper()
	for i := range entries {
		if entries[i].Interfaces == 0 {
			entries[i].Interfaces = 1
		}
	}
	if err := r.Put(entries); err != nil {
		r.t.Fatalf("%+v", err)
	}
}

// TestInterfacesDiffer: what one interface has, leases and a link of its own, is not another's.
func TestInterfacesDiffer(t *testing.T) {
	r := newRig(t, Config{IPv6SourcePrefixLength: 64})
	const other = Slot(5)
	r.use(other, FilterEnforce)
	r.put(Entry{Match: source("203.0.113.9/32"), Action: ActionDrop, Interfaces: 1 << other})
	r.SetOnLink(other, []netip.Prefix{netip.MustParsePrefix("2001:db8:1:2::/64")})
	host := ethernet(0x86dd).ipv6("2001:db8:1:2::9", "2001:db8::1", 6).tcp(1, 80, flagSYN)
	windows := map[Slot]Window{}
	for s, want := range map[Slot]uint32{0: xdpPass, other: xdpDrop} {
		if got := r.run(s, synFrom("203.0.113.9"), 1); got != want {
			t.Errorf("slot %d: verdict %d, want %d", s, got, want)
		}
		r.run(s, host, 1)
	}
	for _, w := range r.drains() {
		windows[w.Slot] = w
	}
	for s, want := range map[Slot]string{0: "2001:db8:1:2::", other: "2001:db8:1:2::9"} {
		w := windows[s]
		for _, source := range w.Sources.All() {
			if source.Address.Is6() && source.Address.String() != want {
				t.Errorf("slot %d: counted as %s, want %s", s, source.Address, want)
			}
		}
		if w.Sources.Len() != 2 {
			t.Errorf("slot %d: %d sources, want two", s, w.Sources.Len())
		}
	}
}

func (w *Window) String() string {
	return fmt.Sprintf("totals %+v, non-IP %d, malformed %d, %d sources", w.Totals, w.NonIP, w.Malformed, w.Sources.Len())
}
