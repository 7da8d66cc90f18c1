package testrun

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weir-net/weir/bpf/xdp"
)

// Weir is a data plane of its own, attached to the loopback interface of a
// network namespace that nobody else has, where no packet comes by itself.
type Weir struct {
	*xdp.Datapath
	Slot    xdp.Slot
	Program *ebpf.Program
	ns      netns.NsHandle
}

// OpenWeir loads the data plane through the API that the probe uses, enforcing.
func OpenWeir(cfg xdp.Config) (*Weir, error) {
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
		done <- w.attach()
	}()
	if err := <-done; err != nil {
		return nil, errors.Join(err, w.Close())
	}
	w.SetFilterMode(w.Slot, xdp.FilterEnforce)
	return w, nil
}

const loopback = 1 // the ifindex of lo in every namespace

func (w *Weir) attach() (err error) {
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
	a, err := w.Attach(loopback, xdp.AttachOptions{Mode: xdp.ModeGeneric})
	if err != nil {
		return fmt.Errorf("attaching: %w", err)
	}
	w.Slot = a.Slot
	if lo, err = netlink.LinkByIndex(loopback); err != nil {
		return fmt.Errorf("looking at the interface: %w", err)
	}
	if lo.Attrs().Xdp == nil || lo.Attrs().Xdp.ProgId == 0 {
		return errors.New("the interface has no XDP program after attaching")
	}
	if w.Program, err = ebpf.NewProgramFromID(ebpf.ProgramID(lo.Attrs().Xdp.ProgId)); err != nil {
		return fmt.Errorf("opening the attached program: %w", err)
	}
	return nil
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
