package peers

import (
	"encoding/binary"
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

// NewPicker returns a picker in front of program. The four bytes of the frame that
// it varies are at offset. If they are the end of half an IPv6 address, it writes all of
// that in one piece, as it is read.
func NewPicker(program *ebpf.Program, frame []byte, offset int, half bool) (*Picker, error) {
	set := constants{"offset": uint32(offset)}
	if half {
		set["whole"], set["before"] = 1, binary.NativeEndian.Uint32(frame[offset-4:])
	}
	p, err := load(set, 0)
	if err != nil {
		return nil, err
	}
	if err = p.coll.Maps["subject"].Put(uint32(0), program); err == nil {
		return p, nil
	}
	p.Close()
	// A program that takes packets of several buffers is only called by its like.
	if p, again := load(set, unix.BPF_F_XDP_HAS_FRAGS); again == nil {
		if again = p.coll.Maps["subject"].Put(uint32(0), program); again == nil {
			return p, nil
		}
		p.Close()
	}
	return nil, fmt.Errorf("putting a program behind the picker: %w", err)
}

// NewSender returns a picker that sends its packets, IPv4 with the source at
// offset, out of an interface of the namespace in which it is run with live
// frames.
func NewSender(ifindex int, frame []byte, offset int) (*Picker, error) {
	header := frame[offset-12 : offset+8]
	var sum uint32
	for i := 0; i < len(header); i += 2 {
		if i != 10 && i != 12 && i != 14 { // the checksum, and the source
			sum += uint32(binary.NativeEndian.Uint16(header[i:]))
		}
	}
	return load(constants{"offset": uint32(offset), "out": uint32(ifindex), "other_words": sum}, 0)
}

// constants are load-time constants of pick.bpf.c.
type constants map[string]uint32

func load(set constants, flags uint32) (*Picker, error) {
	spec, err := loadPick()
	if err != nil {
		return nil, fmt.Errorf("reading the picker's BPF object: %w", err)
	}
	for name, value := range set {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("setting %s of the picker: %w", name, err)
		}
	}
	if err := spec.Variables["state"].Set(rand.Uint64()); err != nil {
		return nil, fmt.Errorf("seeding the picker: %w", err)
	}
	for _, p := range spec.Programs {
		p.Flags |= flags
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("loading the picker: %w", err)
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
