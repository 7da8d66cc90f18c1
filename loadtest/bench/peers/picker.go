package peers

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Picker gives every packet another source and hands it to one program.
type Picker struct {
	coll *ebpf.Collection
}

// NewPicker returns a picker in front of program, or, where program is nil, one
// that transmits. The four bytes of a frame that it varies are at offset.
func NewPicker(program *ebpf.Program, offset int) (*Picker, error) {
	p, err := newPicker(program, offset, 0)
	if err == nil || program == nil {
		return p, err
	}
	// A program that takes packets of several buffers is only called by its like.
	if p, again := newPicker(program, offset, unix.BPF_F_XDP_HAS_FRAGS); again == nil {
		return p, nil
	}
	return nil, err
}

func newPicker(program *ebpf.Program, offset int, flags uint32) (*Picker, error) {
	spec, err := loadPick()
	if err != nil {
		return nil, fmt.Errorf("reading the picker's BPF object: %w", err)
	}
	transmit := uint32(0)
	if program == nil {
		transmit = 1
	}
	err = errors.Join(
		spec.Variables["offset"].Set(uint32(offset)),
		spec.Variables["transmit"].Set(transmit),
		spec.Variables["state"].Set(rand.Uint64()),
	)
	if err != nil {
		return nil, fmt.Errorf("setting up the picker: %w", err)
	}
	for _, p := range spec.Programs {
		p.Flags |= flags
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("loading the picker: %w", err)
	}
	if program != nil {
		if err := coll.Maps["subject"].Put(uint32(0), program); err != nil {
			coll.Close()
			return nil, fmt.Errorf("putting a program behind the picker: %w", err)
		}
	}
	return &Picker{coll}, nil
}

// Random returns the program that picks a source at random for each packet.
func (p *Picker) Random() *ebpf.Program { return p.coll.Programs["pick"] }

// InTurn returns the program that takes one source after the other.
func (p *Picker) InTurn() *ebpf.Program { return p.coll.Programs["walk"] }

// Sources chooses the sources: numbers first to first + count - 1.
func (p *Picker) Sources(first, count uint32) error {
	err := errors.Join(
		p.coll.Variables["first"].Set(first),
		p.coll.Variables["count"].Set(count),
		p.coll.Variables["next"].Set(uint32(0)),
	)
	if err != nil {
		return fmt.Errorf("choosing %d sources: %w", count, err)
	}
	return nil
}

// Sent returns how many packets the program was given since the beginning.
func (p *Picker) Sent() (n uint64, err error) {
	if err := p.coll.Variables["sent"].Get(&n); err != nil {
		return 0, fmt.Errorf("reading the packets sent: %w", err)
	}
	return n, nil
}

// Close unloads the picker, not the program behind it.
func (p *Picker) Close() { p.coll.Close() }

// Address returns the IPv4 address of a source's number, as scatter of
// pick.bpf.c makes it: one to one, and spread over all of IPv4.
func Address(number uint32) netip.Addr {
	x := number
	x ^= x >> 16
	x *= 0x85ebca6b
	x ^= x >> 13
	x *= 0xc2b2ae35
	x ^= x >> 16
	return netip.AddrFrom4([4]byte{byte(x >> 24), byte(x >> 16), byte(x >> 8), byte(x)})
}
