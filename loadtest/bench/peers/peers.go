// Package peers holds the BPF programs that Weir is measured against, the floor
// of each step and plain re-creations of the designs in use, and the program
// that gives every packet of a measurement another source.
package peers

import (
	"fmt"
	"math/bits"
	"math/rand/v2"

	"github.com/cilium/ebpf"
)

// Set is one load of the peers: programs that share no map.
type Set struct{ coll *ebpf.Collection }

// waysPerSet is WAYS of peers.bpf.c.
const waysPerSet = 4

// RecordsPerSource is how many records a flat table needs for each source that it has
// room for: with no more than there are sources, a fifth would find its set full.
const RecordsPerSource = 2

// Load loads the peers with room for so many sources each, rounded up to a power
// of two: the flat tables per CPU, the kernel's hash maps for all CPUs.
func Load(sources int) (*Set, error) {
	spec, err := loadFloor()
	if err != nil {
		return nil, fmt.Errorf("reading the peers' BPF object: %w", err)
	}
	cpus, err := ebpf.PossibleCPU()
	if err != nil {
		return nil, fmt.Errorf("counting CPUs: %w", err)
	}
	entries := uint32(1) << bits.Len(uint(max(sources, waysPerSet)-1))
	for _, name := range []string{"lru", "hash", "blocked"} {
		spec.Maps[name].MaxEntries = entries
	}
	sets := RecordsPerSource * entries / waysPerSet
	spec.Maps["sets"].MaxEntries = uint32(cpus) * sets
	if err := spec.Variables["sets_per_cpu"].Set(sets); err != nil {
		return nil, fmt.Errorf("sizing the flat table: %w", err)
	}
	if err := spec.Variables["seed"].Set(rand.Uint64()); err != nil {
		return nil, fmt.Errorf("seeding the hash: %w", err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("loading the peers: %w", err)
	}
	return &Set{coll}, nil
}

// Program returns a program by its name in peers.bpf.c. It belongs to the set.
func (s *Set) Program(name string) (*ebpf.Program, error) {
	p := s.coll.Programs[name]
	if p == nil {
		return nil, fmt.Errorf("there is no peer %q", name)
	}
	return p, nil
}

// Block puts the sources numbered 1 to n on K-ONE's list.
func (s *Set) Block(n uint32) error {
	addresses, values := make([][4]byte, n), make([]uint32, n)
	for i := range addresses {
		addresses[i] = Address(1 + uint32(i)).As4()
	}
	if _, err := s.coll.Maps["blocked"].BatchUpdate(addresses, values, nil); err != nil {
		return fmt.Errorf("blocking %d sources: %w", n, err)
	}
	return nil
}

// Close unloads everything.
func (s *Set) Close() { s.coll.Close() }
