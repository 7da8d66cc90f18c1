package xdp

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weir-net/weir/bpf/nic"
)

// hooked is a program on an interface.
type hooked struct {
	link    link.Link
	program *ebpf.Program
	mode    Mode
	reason  string
}

func (h *hooked) close() error { return errors.Join(h.link.Close(), h.program.Close()) }

// attempt is one mode to try, and why.
type attempt struct {
	mode   Mode
	reason string
}

// attempts returns the modes to try in turn on an interface.
func attempts(n nic.Interface, wanted Mode) []attempt {
	if wanted != ModeAuto {
		return []attempt{{wanted, "as configured"}}
	}
	switch {
	case !n.Ethernet:
		return []attempt{{ModeTCX, "its packets have no Ethernet header, which XDP needs"}}
	case n.Kind == "veth":
		return []attempt{
			{ModeTCX, "native on veth would switch segmentation offload off at its peer"},
			{ModeNative, "exact, though it switches segmentation offload off at the peer"},
			{ModeGeneric, "nothing better is left"},
		}
	case n.Virtual():
		return []attempt{
			{ModeTCX, fmt.Sprintf("on a virtual interface (%s) there is no driver that XDP could spare work", n.What())},
			{ModeNative, "the driver supports it"},
			{ModeGeneric, "nothing better is left"},
		}
	default:
		return []attempt{
			{ModeNative, fmt.Sprintf("the driver (%s) supports it", n.What())},
			{ModeTCX, "it sees packets before the rest of the kernel does"},
			{ModeGeneric, "nothing better is left"},
		}
	}
}

// hook puts the program of a slot on an interface: in the wanted mode, or in
// the first that the interface takes.
func (d *Datapath) hook(s Slot, ifindex int, wanted Mode) (*hooked, error) {
	n, err := nic.Read(ifindex)
	if err != nil {
		return nil, fmt.Errorf("inspecting the interface: %w", err)
	}
	var refused error
	for _, try := range attempts(n, wanted) {
		h, err := d.hookIn(s, n, try.mode)
		if err == nil {
			h.reason = try.reason
			if refused != nil {
				h.reason = fmt.Sprintf("%v; %s", refused, try.reason)
			}
			return h, nil
		}
		refused = errors.Join(refused, fmt.Errorf("%s was refused: %w", try.mode, err))
		if errors.Is(err, ErrForeignProgram) {
			break // whoever put it there does not want another
		}
	}
	return nil, refused
}

// programFor loads the program that a mode needs.
func (d *Datapath) programFor(s Slot, n nic.Interface, mode Mode) (*ebpf.Program, error) {
	if mode == ModeTCX {
		return d.loadProgram(s, "weir_tcx", variant{bareIP: !n.Ethernet})
	}
	return d.loadProgram(s, "weir", variant{frags: n.IsJumbo()})
}

func (d *Datapath) hookIn(s Slot, n nic.Interface, mode Mode) (*hooked, error) {
	if mode != ModeTCX && !n.Ethernet {
		return nil, errors.New("its packets have no Ethernet header: only tcx takes them")
	}
	if mode != ModeTCX && n.XDPProgram != 0 {
		return nil, foreignError(n) // before the verifier is put to work for nothing
	}
	prog, err := d.programFor(s, n, mode)
	if err != nil {
		return nil, err
	}
	l, err := attachTo(prog, n.Index, mode)
	if err != nil && mode == ModeOffload {
		err = fmt.Errorf("no NIC is known that could reach the tables in this machine's memory: %w", err)
	}
	if err != nil {
		return nil, errors.Join(explain(err, n), prog.Close())
	}
	return &hooked{link: l, program: prog, mode: mode}, nil
}

// attachTo attaches. In XDP there is one place, which is not taken from whoever
// has it. In TCX programs stand in line: ours goes first.
func attachTo(prog *ebpf.Program, ifindex int, mode Mode) (link.Link, error) {
	if mode == ModeTCX {
		return link.AttachTCX(link.TCXOptions{Program: prog, Interface: ifindex, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
	}
	flags := map[Mode]link.XDPAttachFlags{
		ModeNative: link.XDPDriverMode, ModeGeneric: link.XDPGenericMode, ModeOffload: link.XDPOffloadMode,
	}
	return link.AttachXDP(link.XDPOptions{Program: prog, Interface: ifindex, Flags: flags[mode]})
}

// linkedTo returns the interface of a link, 0 once that is gone.
func linkedTo(l link.Link) int {
	info, err := l.Info()
	if err != nil {
		return 0
	}
	if x := info.XDP(); x != nil {
		return int(x.Ifindex)
	}
	if x := info.TCX(); x != nil {
		return int(x.Ifindex)
	}
	return 0
}

func foreignError(n nic.Interface) error {
	return fmt.Errorf("%w to %s; take it off first", ErrForeignProgram, n.Name)
}

// explain adds what the kernel's answer means.
func explain(err error, n nic.Interface) error {
	switch {
	case errors.Is(err, syscall.EBUSY), errors.Is(err, syscall.EEXIST):
		return foreignError(n)
	case errors.Is(err, syscall.ENODEV):
		return fmt.Errorf("the interface is gone (%w)", err)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	case errors.Is(err, syscall.EOPNOTSUPP) && n.Suspects() == "":
		return fmt.Errorf("%s has no support for it (%w)", n.What(), err)
	case n.Suspects() != "":
		return fmt.Errorf("%s refused: %s (%w)", n.What(), n.Suspects(), err)
	case errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ERANGE):
		return fmt.Errorf("%s refused, for reasons in the kernel's log (%w)", n.What(), err)
	}
	return err
}
