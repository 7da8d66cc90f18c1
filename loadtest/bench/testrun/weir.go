package testrun

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weir-net/weir/bpf/xdp"
)

// Weir is a data plane of its own, attached to the loopback interface of a
// network namespace that nobody else has, where no packet comes by itself. Its
// program can be attached elsewhere besides.
type Weir struct {
	*xdp.Datapath
	Slot    xdp.Slot
	Program *ebpf.Program
	ns      netns.NsHandle
}

// OpenWeir loads the data plane through the API that the probe uses, enforcing.
// Its program is one for XDP.
func OpenWeir(cfg xdp.Config) (*Weir, error) { return openWeir(cfg, xdp.ModeGeneric) }

// OpenTCX is as OpenWeir, with a program for TCX.
func OpenTCX(cfg xdp.Config) (*Weir, error) { return openWeir(cfg, xdp.ModeTCX) }

func openWeir(cfg xdp.Config, mode xdp.Mode) (*Weir, error) {
	w := &Weir{ns: netns.None()}
	var err error
	if w.Datapath, err = xdp.Open(cfg); err != nil {
		return nil, fmt.Errorf("opening the data plane: %w", err)
	}
	done := make(chan error)
	go func() {
		// The thread is not unlocked: it is in another namespace, and ends with
		// the goroutine.
		runtime.LockOSThread()
		done <- w.attach(mode)
	}()
	if err := <-done; err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.SetFilterMode(w.Slot, xdp.FilterEnforce)
	return w, nil
}

const loopback = 1 // the ifindex of lo in every namespace

func (w *Weir) attach(mode xdp.Mode) (err error) {
	if w.ns, err = netns.New(); err != nil {
		return fmt.Errorf("making a network namespace: %w", err)
	}
	lo, err := netlink.LinkByIndex(loopback)
	if err != nil {
		return fmt.Errorf("looking at the interface: %w", err)
	}
	// As on most networks: frames that fit one buffer.
	if err := netlink.LinkSetMTU(lo, 1500); err != nil {
		return fmt.Errorf("setting the interface's MTU: %w", err)
	}
	a, err := w.Attach(loopback, xdp.AttachOptions{Mode: mode})
	if err != nil {
		return fmt.Errorf("attaching: %w", err)
	}
	w.Slot = a.Slot
	id, err := attached(mode)
	if err != nil {
		return fmt.Errorf("looking for the attached program: %w", err)
	}
	if w.Program, err = ebpf.NewProgramFromID(id); err != nil {
		return fmt.Errorf("opening the attached program: %w", err)
	}
	return nil
}

// Subject makes a subject of the program.
func (w *Weir) Subject(name string, f Frame) (*Subject, error) {
	s, err := NewSubject(name, w.Program, f)
	if err != nil {
		return nil, err
	}
	s.end = func() error {
		if _, err := w.Drain(); err != nil {
			return fmt.Errorf("draining: %w", err)
		}
		w.Commit()
		return nil
	}
	return s, nil
}

// attached returns the program on the loopback interface.
func attached(mode xdp.Mode) (ebpf.ProgramID, error) {
	if mode == xdp.ModeTCX {
		found, err := link.QueryPrograms(link.QueryOptions{Target: loopback, Attach: ebpf.AttachTCXIngress})
		if err != nil {
			return 0, err
		}
		if len(found.Programs) != 1 {
			return 0, fmt.Errorf("there are %d", len(found.Programs))
		}
		return found.Programs[0].ID, nil
	}
	lo, err := netlink.LinkByIndex(loopback)
	if err != nil {
		return 0, err
	}
	if lo.Attrs().Xdp == nil || lo.Attrs().Xdp.ProgId == 0 {
		return 0, errors.New("there is none")
	}
	return ebpf.ProgramID(lo.Attrs().Xdp.ProgId), nil
}

// Close takes everything down.
func (w *Weir) Close() error {
	var errs []error
	if w.Program != nil {
		errs = append(errs, w.Program.Close())
	}
	errs = append(errs, w.Datapath.Close())
	if w.ns.IsOpen() {
		errs = append(errs, w.ns.Close())
	}
	return errors.Join(errs...)
}
