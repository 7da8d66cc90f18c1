// Package interfaces keeps the data plane on the configured interfaces as they
// come and go. One that cannot be attached never stops the others.
package interfaces

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas/events"
)

// Datapath is what this package needs of the data plane.
type Datapath interface {
	Attach(ifindex int, o xdp.AttachOptions) (xdp.Attachment, error)
	SetOnLink(xdp.Slot, []netip.Prefix)
	Detach(ifindex int) error
	Attachments() []xdp.Attachment
	SetFilterMode(xdp.Slot, xdp.FilterMode)
}

// Attached is one interface with the program on it.
type Attached struct {
	xdp.Attachment
	Name string
}

// Manager attaches and detaches.
type Manager struct {
	Datapath Datapath
	Names    []string
	Mode     xdp.Mode
	Filter   xdp.FilterMode // of an interface that was not adopted
	Publish  func(events.Record)
	Changed  func() // after the set of attached interfaces has changed
	Log      *slog.Logger

	mu      sync.Mutex
	byName  map[string]Attached
	failed  map[string]failure
	adopted bool             // what an earlier process left has been looked at
	now     func() time.Time // time.Now, but for tests
}

// failure is why an interface is not attached.
type failure struct {
	text  string        // told once
	link  net.Interface // as it was when it was tried
	delay time.Duration // before it is tried again
	again time.Time
}

// Attaching costs up to seconds of CPU time for the verifier, so what fails is
// tried less and less often, until the interface itself changes.
const (
	firstDelay = time.Second
	lastDelay  = 15 * time.Second
)

// Attached returns the attached interfaces.
func (m *Manager) Attached() []Attached {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Attached
	for _, name := range m.Names {
		if a, ok := m.byName[name]; ok {
			out = append(out, a)
		}
	}
	return out
}

// Name returns the name of an attached interface.
func (m *Manager) Name(ifindex int) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, a := range m.byName {
		if a.Ifindex == ifindex {
			return name, true
		}
	}
	return "", false
}

// interval is how soon an interface that appears is attached.
const interval = 500 * time.Millisecond

// Run keeps the interfaces attached until ctx ends. It leaves them attached
// then: the filter outlives the probe.
func (m *Manager) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
			m.Sync()
		}
	}
}

// Sync attaches what has appeared and lets go of what is gone or no longer
// configured.
func (m *Manager) Sync() {
	if m.sync() {
		m.Changed()
	}
}

func (m *Manager) sync() (changed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byName == nil {
		m.byName, m.failed = map[string]Attached{}, map[string]failure{}
	}
	present, err := interfacesByName()
	if err != nil {
		// Not knowing what is there is no reason to take a filter off.
		m.Log.Warn("interfaces cannot be listed, nothing is attached or detached", "error", err)
		return false
	}
	if !m.adopted {
		m.adopted = true
		m.dropUnconfigured(present)
	}
	changed = m.release(present)
	for _, name := range m.Names {
		link, exists := present[name]
		have, attached := m.byName[name]
		switch {
		case !exists:
			m.fail(name, net.Interface{}, fmt.Errorf("there is no interface %s", name))
		case attached:
			m.Datapath.SetOnLink(have.Slot, onLink(link))
		default:
			changed = m.attach(name, link) || changed
		}
	}
	return changed
}

// release lets go of what is gone, before anything is attached. An interface that
// now goes by another name that is to be watched stays as it is.
func (m *Manager) release(present map[string]*net.Interface) (changed bool) {
	now := map[string]Attached{}
	for name, have := range m.byName {
		if link, exists := present[name]; exists && link.Index == have.Ifindex {
			now[name] = have
			continue
		}
		changed = true
		if renamed := nameOf(have.Ifindex, present); slices.Contains(m.Names, renamed) {
			m.Log.Info("interface was renamed", "interface", name, "to", renamed)
			delete(m.failed, renamed)
			now[renamed] = Attached{Attachment: have.Attachment, Name: renamed}
			continue
		}
		m.Log.Warn("interface is gone", "interface", name)
		if err := m.Datapath.Detach(have.Ifindex); err != nil {
			m.Log.Warn("detaching", "interface", name, "error", err)
		}
	}
	m.byName = now
	return changed
}

func nameOf(ifindex int, present map[string]*net.Interface) string {
	for name, link := range present {
		if link.Index == ifindex {
			return name
		}
	}
	return ""
}

func interfacesByName() (map[string]*net.Interface, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("listing interfaces: %w", err)
	}
	out := make(map[string]*net.Interface, len(all))
	for i := range all {
		out[all[i].Name] = &all[i]
	}
	return out, nil
}

func (m *Manager) attach(name string, link *net.Interface) bool {
	if f, failed := m.failed[name]; failed && sameLink(&f.link, link) && m.time().Before(f.again) {
		return false
	}
	a, err := m.Datapath.Attach(link.Index, xdp.AttachOptions{Mode: m.Mode, OnLink: onLink(link)})
	if err != nil {
		m.fail(name, *link, fmt.Errorf("attaching to %s: %w", name, err))
		return false
	}
	delete(m.failed, name)
	if !a.Adopted {
		m.Datapath.SetFilterMode(a.Slot, m.Filter)
	}
	m.byName[name] = Attached{Attachment: a, Name: name}
	m.Publish(events.Record{Kind: events.KindAttach, Interface: name,
		Reason: fmt.Sprintf("attached to %s in mode %s: %s", name, a.Mode, a.Reason)})
	return true
}

// dropUnconfigured takes the program off what an earlier process attached and
// this one is not to watch.
func (m *Manager) dropUnconfigured(present map[string]*net.Interface) {
	wanted := map[int]bool{}
	for _, name := range m.Names {
		if link, exists := present[name]; exists {
			wanted[link.Index] = true
		}
	}
	for _, a := range m.Datapath.Attachments() {
		if wanted[a.Ifindex] {
			continue
		}
		m.Log.Info("detaching an interface that is not configured any more", "ifindex", a.Ifindex)
		if err := m.Datapath.Detach(a.Ifindex); err != nil {
			m.Log.Warn("detaching", "ifindex", a.Ifindex, "error", err)
		}
	}
}

// sameLink reports whether nothing has changed that attaching might depend on.
func sameLink(a, b *net.Interface) bool {
	return a.Index == b.Index && a.MTU == b.MTU && a.Flags == b.Flags
}

func (m *Manager) time() time.Time {
	if m.now != nil {
		return m.now()
	}
	return time.Now()
}

func (m *Manager) fail(name string, link net.Interface, err error) {
	before := m.failed[name]
	f := failure{text: err.Error(), link: link, delay: firstDelay}
	if before.text == f.text && sameLink(&before.link, &link) {
		f.delay = min(2*before.delay, lastDelay)
	}
	f.again = m.time().Add(f.delay)
	m.failed[name] = f
	if before.text == f.text {
		return
	}
	m.Publish(events.Record{Kind: events.KindAttach, Severity: events.Error, Interface: name, Reason: err.Error()})
}

// Ready says which interfaces are not attached, or nil.
func (m *Manager) Ready() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, name := range m.Names {
		if _, ok := m.byName[name]; !ok {
			errs = append(errs, fmt.Errorf("%s is not attached", name))
		}
	}
	return errors.Join(errs...)
}

func onLink(link *net.Interface) []netip.Prefix {
	addrs, err := link.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.To4() != nil || n.IP.IsLinkLocalUnicast() {
			continue
		}
		if ip, ok := netip.AddrFromSlice(n.IP); ok {
			ones, _ := n.Mask.Size()
			out = append(out, netip.PrefixFrom(ip, ones).Masked())
		}
	}
	return out
}
