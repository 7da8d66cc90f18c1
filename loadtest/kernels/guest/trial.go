package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
)

// packets is how many frames of each of two sources a device is sent.
const packets = 50

// outcome is one attach mode on one device, as test-kernels reads it.
type outcome struct {
	Device   string `json:"device"` // by its driver
	Mode     string `json:"mode"`   // asked for
	Got      string `json:"got"`    // what it became; empty if refused
	Expected bool   `json:"expected"`
	Error    string `json:"error,omitempty"`
}

// trial attaches the program to every kind of interface there is, in every mode,
// sends real frames, and prints a line for each.
func trial() error {
	fmt.Println("GUEST up", release())
	// Nothing but our frames: IPv6 would announce itself on every link.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("switching IPv6 off: %w", err)
	}
	devices, err := devices()
	if err != nil {
		return err
	}
	var failed error
	for _, d := range devices {
		for _, mode := range []xdp.Mode{xdp.ModeNative, xdp.ModeTCX, xdp.ModeGeneric, xdp.ModeAuto} {
			o := outcome{Device: d.driver, Mode: mode.String(), Expected: d.takes(mode)}
			if got, err := d.try(mode); err != nil {
				o.Error = err.Error()
			} else {
				o.Got = got.String()
			}
			if o.Expected != (o.Error == "") {
				failed = errors.Join(failed, fmt.Errorf("%s %s: expected %v: %s", d.driver, mode, o.Expected, o.Error))
			}
			say("ATTACH", o)
		}
	}
	for _, f := range supported() {
		say("FEATURE", f)
	}
	return errors.Join(failed, takeover(devices[0]))
}

// takes says which modes ought to work.
func (d *device) takes(mode xdp.Mode) bool {
	switch mode {
	case xdp.ModeNative:
		return d.native
	case xdp.ModeTCX:
		return atLeast(release(), 6, 6)
	}
	return true
}

// atLeast compares a kernel's release with a version.
func atLeast(release string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(release, "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

func say(what string, v any) {
	line, err := json.Marshal(v)
	if err != nil {
		line = []byte(err.Error())
	}
	fmt.Printf("%s %s\n", what, line)
}

func config() xdp.Config { return xdp.Config{BootID: "trial", SourceWays: 1024, MaxLeases: 1024} }

// try attaches in one mode and holds what the program did against what was sent.
func (d *device) try(mode xdp.Mode) (xdp.Mode, error) {
	path, err := xdp.Open(config())
	if err != nil {
		return 0, fmt.Errorf("opening: %w", err)
	}
	defer path.Close()
	a, err := path.Attach(d.ifindex, xdp.AttachOptions{Mode: mode})
	if err != nil {
		return 0, err
	}
	path.SetFilterMode(a.Slot, xdp.FilterEnforce)
	return a.Mode, d.exchange(path, a.Slot)
}

var (
	blocked = netip.MustParseAddr("203.0.113.7")
	free    = netip.MustParseAddr("203.0.113.9")
)

// exchange blocks one of two sources and sends frames of both: the blocked one's
// are dropped, the other's pass, and each is counted once.
func (d *device) exchange(path *xdp.Datapath, slot xdp.Slot) error {
	m := xdp.Match{Source: netip.PrefixFrom(blocked, 32)}
	if err := path.Put([]xdp.Entry{{Match: m, Action: xdp.ActionDrop, Interfaces: 1 << slot}}); err != nil {
		return fmt.Errorf("blocking: %w", err)
	}
	for range packets {
		for _, source := range []netip.Addr{blocked, free} {
			if err := d.send(frameFrom(source)); err != nil {
				return fmt.Errorf("sending: %w", err)
			}
		}
	}
	count := map[netip.Addr]uint64{}
	var dropped uint64
	deadline := time.Now().Add(10 * time.Second)
	for count[blocked] < packets || count[free] < packets {
		if time.Now().After(deadline) {
			break
		}
		out, err := path.Drain()
		if err != nil {
			return fmt.Errorf("draining: %w", err)
		}
		for _, w := range out.Windows {
			for _, s := range w.Sources.All() {
				count[s.Address] += s.Packets
				dropped += s.Dropped
			}
		}
		path.Commit()
		time.Sleep(10 * time.Millisecond)
	}
	if count[blocked] != packets || count[free] != packets || dropped != packets {
		return fmt.Errorf("of %d packets each, %d of the blocked source and %d of the other were counted, %d dropped",
			packets, count[blocked], count[free], dropped)
	}
	return nil
}

// takeover lets one data plane end and another take up its interface, lease and
// open window from the pins.
func takeover(d *device) error {
	c := config()
	c.PinPath = "/sys/fs/bpf/weir-trial"
	first, err := xdp.Open(c)
	if err != nil {
		return fmt.Errorf("opening with pins: %w", err)
	}
	a, err := first.Attach(d.ifindex, xdp.AttachOptions{})
	if err != nil {
		return errors.Join(fmt.Errorf("attaching with pins: %w", err), first.Remove())
	}
	first.SetFilterMode(a.Slot, xdp.FilterEnforce)
	if err := first.Close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	second, err := xdp.Open(c)
	if err != nil {
		return fmt.Errorf("opening what is pinned: %w", err)
	}
	b, err := second.Attach(d.ifindex, xdp.AttachOptions{})
	if err == nil && (!b.Adopted || !second.Adopted()) {
		err = errors.New("nothing was adopted")
	}
	if err == nil {
		err = d.exchange(second, b.Slot)
	}
	say("TAKEOVER", map[string]any{"ok": err == nil})
	return errors.Join(err, second.Remove())
}

// frameFrom is a SYN of 60 bytes, the least that Ethernet carries, for every card.
func frameFrom(source netip.Addr) []byte {
	f := []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0}
	f = append(f, source.AsSlice()...)
	f = append(f, 198, 51, 100, 1)
	f = binary.BigEndian.AppendUint16(f, 1234)
	f = binary.BigEndian.AppendUint16(f, 80)
	f = append(f, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0)
	return append(f, make([]byte, 60-len(f))...)
}
