package interfaces

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/events"
)

// plane stands in for the data plane: it remembers what is attached.
type plane struct {
	attached map[int]xdp.Attachment
	modes    map[xdp.Slot]xdp.FilterMode
	onLink   map[xdp.Slot][]netip.Prefix
	refuse   map[int]error // by ifindex
	calls    int           // of Attach
}

func (p *plane) Attach(ifindex int, o xdp.AttachOptions) (xdp.Attachment, error) {
	p.calls++
	if err := p.refuse[ifindex]; err != nil {
		return xdp.Attachment{}, err
	}
	if a, ok := p.attached[ifindex]; ok {
		return a, nil
	}
	a := xdp.Attachment{Ifindex: ifindex, Slot: xdp.Slot(p.calls), Mode: xdp.ModeNative, Reason: "because"}
	p.attached[ifindex] = a
	p.SetOnLink(a.Slot, o.OnLink)
	return a, nil
}

func (p *plane) SetOnLink(s xdp.Slot, prefixes []netip.Prefix) { p.onLink[s] = prefixes }
func (p *plane) Detach(ifindex int) error                      { delete(p.attached, ifindex); return nil }
func (p *plane) Attachments() []xdp.Attachment                 { return slices.Collect(maps.Values(p.attached)) }
func (p *plane) SetFilterMode(s xdp.Slot, m xdp.FilterMode)    { p.modes[s] = m }

// stage is a namespace of its own with a manager in it.
type stage struct {
	*Manager
	t       *testing.T
	plane   *plane
	events  []events.Record
	changes int
}

func newStage(t *testing.T, names ...string) *stage {
	t.Helper()
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
	t.Cleanup(func() { ns.Close() })
	s := &stage{t: t, plane: &plane{attached: map[int]xdp.Attachment{}, modes: map[xdp.Slot]xdp.FilterMode{},
		onLink: map[xdp.Slot][]netip.Prefix{}, refuse: map[int]error{}}}
	s.Manager = &Manager{Datapath: s.plane, Names: names, Filter: xdp.FilterEnforce, Log: slog.New(slog.DiscardHandler),
		Publish: func(r events.Record) { s.events = append(s.events, r) }, Changed: func() { s.changes++ }}
	return s
}

// add makes an interface and returns its index.
func (s *stage) add(name string) int {
	s.t.Helper()
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name + "-peer"}); err != nil {
		s.t.Fatal(err)
	}
	return s.index(name)
}

func (s *stage) index(name string) int { return s.link(name).Attrs().Index }

func (s *stage) link(name string) netlink.Link {
	s.t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		s.t.Fatal(err)
	}
	return link
}

// sync looks at the interfaces once, and checks which are attached then, each
// with its index, how often the change was told, and what events came with it.
func (s *stage) sync(step string, changes int, wantEvents []string, names ...string) {
	s.t.Helper()
	s.events, s.changes = nil, 0
	s.Sync()
	var got []string
	for _, a := range s.Attached() {
		got = append(got, a.Name)
		if a.Ifindex != s.index(a.Name) || s.plane.attached[a.Ifindex].Slot != a.Slot {
			s.t.Errorf("%s: %+v, the interface has index %d, the data plane %+v", step, a, s.index(a.Name), s.plane.attached)
		}
	}
	if !slices.Equal(got, names) || len(s.plane.attached) != len(names) {
		s.t.Errorf("%s: attached %v (data plane %v), want %v", step, got, s.plane.attached, names)
	}
	if s.changes != changes {
		s.t.Errorf("%s: %d changes told, want %d", step, s.changes, changes)
	}
	if len(s.events) != len(wantEvents) {
		s.t.Fatalf("%s: events %+v, want %q", step, s.events, wantEvents)
	}
	for i, e := range s.events {
		if e.Kind != events.KindAttach || !strings.Contains(e.Reason, wantEvents[i]) {
			s.t.Errorf("%s: event %+v, want %q", step, e, wantEvents[i])
		}
	}
}

// TestHotPlug lets interfaces appear, go, come back, and change their names.
func TestHotPlug(t *testing.T) {
	s := newStage(t, "a", "b")
	s.sync("nothing is there", 0, []string{"no interface a", "no interface b"})
	if err := s.Ready(); err == nil || !strings.Contains(err.Error(), "a is not attached") || !strings.Contains(err.Error(), "b is not attached") {
		t.Errorf("ready: %v", err)
	}
	s.sync("said once", 0, nil)
	index := s.add("a")
	s.sync("a appears", 1, []string{"attached to a in mode native: because"}, "a")
	a := s.Attached()[0]
	if s.plane.modes[a.Slot] != xdp.FilterEnforce {
		t.Errorf("a new interface filters as %v", s.plane.modes)
	}
	if name, ok := s.Name(index); name != "a" || !ok {
		t.Errorf("interface %d is %q, %v", index, name, ok)
	}
	s.add("other")
	s.sync("another appears", 0, nil, "a")
	s.add("b")
	s.sync("b appears", 1, []string{"attached to b"}, "a", "b")
	if err := s.Ready(); err != nil {
		t.Errorf("ready: %v", err)
	}

	must(t, netlink.LinkDel(s.link("a")))
	s.sync("a goes", 1, []string{"no interface a"}, "b")
	if again := s.add("a"); again == index {
		t.Fatalf("the new interface has the old one's index")
	}
	s.sync("a comes back", 1, []string{"attached to a"}, "a", "b")
	must(t, netlink.LinkDel(s.link("a")))
	s.add("a")
	s.sync("a is replaced between two looks", 1, []string{"attached to a"}, "a", "b")

	must(t, netlink.LinkSetName(s.link("a"), "c"))
	s.sync("a is now c, which is not to be watched", 1, []string{"no interface a"}, "b")
	must(t, netlink.LinkDel(s.link("b")))
	must(t, netlink.LinkSetName(s.link("c"), "b"))
	s.sync("c is now b", 1, []string{"attached to b"}, "b")
	must(t, netlink.LinkSetName(s.link("b"), "a"))
	calls := s.plane.calls
	s.sync("b is now a", 1, []string{"no interface b"}, "a")
	if s.plane.calls != calls {
		t.Error("an interface that was only renamed was attached again")
	}
	s.add("b")
	s.sync("b is new", 1, []string{"attached to b"}, "a", "b")
	must(t, netlink.LinkSetName(s.link("a"), "x"))
	must(t, netlink.LinkSetName(s.link("b"), "a"))
	must(t, netlink.LinkSetName(s.link("x"), "b"))
	s.sync("a and b have changed names", 1, nil, "a", "b")
}

// TestOneBadInterface checks that an interface that cannot be attached does not
// keep the others from it, is told once for each reason, and tried again.
func TestOneBadInterface(t *testing.T) {
	s := newStage(t, "bad", "good")
	bad := s.add("bad")
	s.add("good")
	s.plane.refuse[bad] = fmt.Errorf("trying: %w", xdp.ErrForeignProgram)
	now := time.Now()
	s.now = func() time.Time { return now }
	s.sync("refused", 1, []string{"attaching to bad: trying: another XDP program", "attached to good"}, "good")
	calls := s.plane.calls
	s.sync("too soon to try again", 0, nil, "good")
	if s.plane.calls != calls {
		t.Error("tried again at once")
	}
	now = now.Add(firstDelay)
	s.sync("still refused", 0, nil, "good")
	now = now.Add(firstDelay)
	s.sync("too soon after the second time", 0, nil, "good")
	if s.plane.calls != calls+1 {
		t.Errorf("tried %d times in %v, want once", s.plane.calls-calls, 2*firstDelay)
	}
	for range 100 {
		now = now.Add(lastDelay)
		s.Sync()
	}
	if s.plane.calls != calls+101 {
		t.Errorf("tried %d times in 100 × %v", s.plane.calls-calls-1, lastDelay)
	}
	must(t, netlink.LinkSetMTU(s.link("bad"), 1400))
	s.sync("tried as soon as the interface changes", 0, nil, "good")
	if s.plane.calls != calls+102 {
		t.Error("not tried after the interface changed")
	}
	now = now.Add(lastDelay)
	s.plane.refuse[bad] = errors.New("another reason")
	s.sync("refused otherwise", 0, []string{"another reason"}, "good")
	delete(s.plane.refuse, bad)
	now = now.Add(firstDelay)
	s.sync("no longer refused", 1, []string{"attached to bad"}, "bad", "good")
}

// TestAdoption checks what is done with what an earlier process left: kept as it
// is where it is to be watched, taken off elsewhere.
func TestAdoption(t *testing.T) {
	s := newStage(t, "kept")
	kept, other := s.add("kept"), s.add("other")
	s.plane.attached[kept] = xdp.Attachment{Ifindex: kept, Slot: 3, Adopted: true}
	s.plane.attached[other] = xdp.Attachment{Ifindex: other, Slot: 4, Adopted: true}
	s.sync("adopted", 1, []string{"attached to kept"}, "kept")
	if len(s.plane.modes) != 0 {
		t.Errorf("the filter mode of an adopted interface was changed: %v", s.plane.modes)
	}
}

// TestOnLink checks that addresses that are added later reach the data plane.
func TestOnLink(t *testing.T) {
	s := newStage(t, "a")
	s.add("a")
	s.sync("attached", 1, []string{"attached to a"}, "a")
	slot := s.Attached()[0].Slot
	for _, text := range []string{"2001:db8:1::5/64", "10.0.0.1/24", "fe80::77/64"} {
		addr, err := netlink.ParseAddr(text)
		must(t, err)
		must(t, netlink.AddrAdd(s.link("a"), addr))
	}
	s.sync("addresses", 0, nil, "a")
	if want := []netip.Prefix{netip.MustParsePrefix("2001:db8:1::/64")}; !slices.Equal(s.plane.onLink[slot], want) {
		t.Errorf("on-link prefixes %v, want %v", s.plane.onLink[slot], want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
