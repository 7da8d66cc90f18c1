package xdp

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// setConstants gives the load-time constants of consts.h their values, and writes
// them into the program name: it would load each from a page of memory that nothing
// else needs, though the verifier knows what is there.
func setConstants(spec *ebpf.CollectionSpec, name string, values map[string]any) error {
	at := map[uint32][]byte{} // in the section
	section := ""
	for name, value := range values {
		v := spec.Variables[name]
		if err := v.Set(value); err != nil {
			return fmt.Errorf("setting constant %s: %w", name, err)
		}
		at[v.Offset], section = v.Value, v.SectionName
	}
	inline(spec.Programs[name].Instructions, section, at)
	return nil
}

// aim makes a program read what lies so many bytes further where it reads the first of an
// array in a section, at an address that is loaded right before: OF_SLOT of consts.h. So it
// need not reckon out which is its interface's.
func aim(program asm.Instructions, section string, first uintptr, further int) error {
	err := fmt.Errorf("the program reads nothing at %d of %s", first, section)
	for at := range len(program) - 1 {
		address, load := &program[at], &program[at+1]
		if address.IsLoadFromMap() && address.Reference() == section && uintptr(load.Offset) == first &&
			load.Src == address.Dst && load.OpCode.Class() == asm.LdXClass {
			load.Offset += int16(further)
			err = nil
		}
	}
	return err
}

// inline replaces the loads of a section's constants, by their offset, where the
// address is loaded right before and serves nothing else. As many slots are taken
// as before: jumps stay right.
func inline(program asm.Instructions, section string, constants map[uint32][]byte) {
	targets := jumpTargets(program)
	slot := 0
	for i := range len(program) - 1 {
		address, load := &program[i], &program[i+1]
		slot += int(address.Size()) / asm.InstructionSize
		isLoad := load.OpCode.Class() == asm.LdXClass && load.OpCode.Mode() == asm.MemMode
		if !address.IsLoadFromMap() || address.Reference() != section || !isLoad || targets[slot] {
			continue
		}
		value, ok := constants[uint32(address.Constant>>32)+uint32(load.Offset)]
		if !ok || len(value) != load.OpCode.Size().Sizeof() || load.Src != address.Dst || load.Dst != address.Dst {
			continue
		}
		*address = asm.LoadImm(load.Dst, int64(unsigned(value)), asm.DWord).WithMetadata(address.Metadata).WithReference("")
		*load = asm.Instruction{OpCode: asm.Ja.Op(asm.ImmSource)}.WithMetadata(load.Metadata) // to the next
	}
}

// jumpTargets returns the slots that some jump leads to.
func jumpTargets(program asm.Instructions) map[int]bool {
	targets := map[int]bool{}
	slot := 0
	for i := range program {
		ins := &program[i]
		slot += int(ins.Size()) / asm.InstructionSize
		if op := ins.OpCode; op.Class().IsJump() && op.JumpOp() != asm.Call && op.JumpOp() != asm.Exit {
			targets[slot+int(ins.Offset)] = true
		}
	}
	return targets
}

// unsigned is a number of any size, as it lies in memory.
func unsigned(value []byte) uint64 {
	var b [8]byte
	copy(b[:], value)
	return binary.NativeEndian.Uint64(b[:])
}
