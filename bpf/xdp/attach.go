package xdp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/bpf/nic"
)

// variant is what an interface asks of its copy of the program.
type variant struct {
	bareIP bool // TCX: its packets have no link layer
	frags  bool // XDP: its frames do not fit one buffer, which costs every packet a call
}

// loadProgram loads the copy of a program that belongs to one slot.
func (d *Datapath) loadProgram(s Slot, name string, v variant) (*ebpf.Program, error) {
	spec, err := d.spec()
	if err != nil {
		return nil, err
	}
	constants := map[string]any{
		"slot_id": uint32(s), "cpus": uint32(d.cpus), "seed": d.seed, "slot_salt": uint64(s) * slotSalt,
		"sets": uint32(d.sets), "set_bits": uint64(d.sets-1) * uint64(unsafe.Sizeof(set4{})),
		"strict": flag(d.cfg.Strict), "group_off_link": flag(d.cfg.IPv6SourcePrefixLength == 64), "bare_ip": flag(v.bareIP),
		"frags": flag(v.frags), "source_limit": cost(d.cfg.SourceLimit, 1),
	}
	if err := setConstants(spec, name, constants); err != nil {
		return nil, err
	}
	program := spec.Programs[name].Instructions
	if err := errors.Join(
		aim(program, sectionOf("control_page"), unsafe.Offsetof(weirControl{}.Kinds), 4*int(s)),
		aim(program, sectionOf("slots"), unsafe.Offsetof(weirSlot{}.OnLinks), int(unsafe.Sizeof(weirSlot{}))*int(s)),
	); err != nil {
		return nil, err
	}
	replace := map[string]*ebpf.Map{}
	for _, name := range mapNames {
		replace[name] = d.maps[name]
		spec.Maps[name].Pinning = ebpf.PinNone
	}
	for _, name := range sectionNames {
		replace[sectionOf(name)] = d.maps[name]
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	if !v.frags {
		spec.Programs[name].Flags &^= unix.BPF_F_XDP_HAS_FRAGS
	}
	coll, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: replace})
	if err != nil {
		return nil, fmt.Errorf("loading the program: %w", err)
	}
	defer coll.Close()
	return coll.DetachProgram(name), nil
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// adoptLinks finds the interfaces that an earlier process left attached. A link
// whose interface is gone is dropped.
func (d *Datapath) adoptLinks() error {
	if d.cfg.PinPath == "" {
		return nil
	}
	for i := range d.slots {
		path := d.linkPath(Slot(i))
		l, err := link.LoadPinnedLink(path, nil)
		if errors.Is(err, os.ErrNotExist) {
			d.vacate(Slot(i))
			continue
		}
		if err != nil {
			return fmt.Errorf("adopting %s: %w", path, err)
		}
		ifindex := linkedTo(l)
		if ifindex == 0 {
			d.vacate(Slot(i))
			if err := errors.Join(l.Unpin(), l.Close()); err != nil {
				return fmt.Errorf("dropping the link of an interface that is gone: %w", err)
			}
			continue
		}
		d.slots[i].Ifindex = uint32(ifindex)
		d.attached[ifindex] = &attachment{link: l, Attachment: Attachment{
			Ifindex: ifindex, Slot: Slot(i), Mode: Mode(d.slots[i].AttachMode), Adopted: true,
			Reason: "adopted from an earlier run",
		}}
	}
	return nil
}

// Attach puts the program on an interface, or, where an earlier process did,
// replaces that program in place without a packet going unfiltered. An
// interface starts in FilterObserve unless it was adopted.
func (d *Datapath) Attach(ifindex int, o AttachOptions) (Attachment, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.attached[ifindex]; a != nil {
		if a.program != nil {
			return a.Attachment, nil
		}
		if o.Mode == ModeAuto || o.Mode == a.Mode {
			return d.upgrade(a, o)
		}
		if err := d.detach(ifindex); err != nil {
			return Attachment{}, err
		}
	}
	slot, err := d.freeSlot()
	if err != nil {
		return Attachment{}, err
	}
	d.slots[slot] = weirSlot{Ifindex: uint32(ifindex), Seq: 0}
	d.setMode(slot, FilterObserve)
	d.setOnLink(slot, o.OnLink)
	hook, err := d.hook(slot, ifindex, o.Mode)
	if err == nil {
		// Before it is pinned: whoever finds the link asks in which mode.
		d.slots[slot].AttachMode = uint32(hook.mode)
	}
	if err == nil && d.cfg.PinPath != "" {
		if err = hook.link.Pin(d.linkPath(slot)); err != nil {
			err = errors.Join(fmt.Errorf("pinning the link: %w", err), hook.close())
		}
	}
	if err != nil {
		d.vacate(slot)
		return Attachment{}, err
	}
	a := &attachment{link: hook.link, program: hook.program,
		Attachment: Attachment{Ifindex: ifindex, Slot: slot, Mode: hook.mode, Reason: hook.reason}}
	d.attached[ifindex] = a
	return a.Attachment, nil
}

func (d *Datapath) upgrade(a *attachment, o AttachOptions) (Attachment, error) {
	n, err := nic.Read(a.Ifindex)
	if err != nil {
		return Attachment{}, fmt.Errorf("inspecting the interface: %w", err)
	}
	prog, err := d.programFor(a.Slot, n, a.Mode)
	if err != nil {
		return Attachment{}, err
	}
	if err := a.link.Update(prog); err != nil {
		return Attachment{}, errors.Join(fmt.Errorf("replacing the program in place: %w", err), prog.Close())
	}
	a.program = prog
	d.setOnLink(a.Slot, o.OnLink)
	return a.Attachment, nil
}

func (d *Datapath) freeSlot() (Slot, error) {
	for i := range d.slots {
		if d.slots[i].Ifindex == 0 {
			return Slot(i), nil
		}
	}
	return 0, fmt.Errorf("attaching: all %d slots are in use", MaxSlots)
}

// vacate makes a slot free. What was counted of its interface is still in the tables.
func (d *Datapath) vacate(s Slot) {
	slot := &d.slots[s]
	if slot.Ifindex != 0 || slot.Seq != 0 {
		d.former |= 1 << s
	}
	slot.Ifindex = 0
}

// isKnown reports whether there may be records of a slot: of an interface, or of one that
// has left it.
func (d *Datapath) isKnown(s Slot) bool { return d.slots[s].Ifindex != 0 || d.former>>s&1 != 0 }

// SetOnLink replaces the IPv6 on-link prefixes of an interface.
func (d *Datapath) SetOnLink(s Slot, prefixes []netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setOnLink(s, prefixes)
}

func (d *Datapath) setOnLink(s Slot, prefixes []netip.Prefix) {
	slot := &d.slots[s]
	n := 0
	for _, p := range prefixes {
		if !p.Addr().Is6() || p.Addr().Is4In6() || p.Bits() < 1 || n == len(slot.OnLink) {
			continue
		}
		var mask [8]byte
		binary.BigEndian.PutUint64(mask[:], ^uint64(0)<<(64-min(p.Bits(), 64)))
		addr := p.Addr().As16()
		slot.OnLink[n].Mask = binary.LittleEndian.Uint64(mask[:])
		slot.OnLink[n].Value = binary.LittleEndian.Uint64(addr[:8]) & slot.OnLink[n].Mask
		n++
	}
	slot.OnLinks = uint32(n)
}

// SetFilterMode sets how leases are treated on an interface, at once.
func (d *Datapath) SetFilterMode(s Slot, m FilterMode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setMode(s, m)
}

func (d *Datapath) setMode(s Slot, m FilterMode) {
	d.control.Mode[s] = uint8(m)
	d.writeKinds()
}

// FilterMode returns how leases are treated on an interface.
func (d *Datapath) FilterMode(s Slot) FilterMode { return FilterMode(d.control.Mode[s]) }

// Attachments returns the attached interfaces, also those that an earlier
// process attached and this one has not yet taken up with Attach.
func (d *Datapath) Attachments() []Attachment {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []Attachment
	for _, a := range d.attached {
		all = append(all, a.Attachment)
	}
	return all
}

// Detach takes the program off an interface.
func (d *Datapath) Detach(ifindex int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.detach(ifindex)
}

func (d *Datapath) detach(ifindex int) error {
	a := d.attached[ifindex]
	if a == nil {
		return nil
	}
	delete(d.attached, ifindex)
	d.vacate(a.Slot)
	var errs []error
	if d.cfg.PinPath != "" {
		errs = append(errs, a.link.Unpin())
	}
	errs = append(errs, a.link.Close())
	if a.program != nil {
		errs = append(errs, a.program.Close())
	}
	return errors.Join(errs...)
}
