package xdp

import (
	"testing"

	"github.com/cilium/ebpf/asm"
)

// constantLoad is how a compiler loads a constant of a section, in three slots.
func constantLoad(to, by asm.Register, offset int64) asm.Instructions {
	address := asm.LoadMapValue(by, 0, uint32(offset)).WithReference(".rodata")
	return asm.Instructions{address, asm.LoadMem(to, by, 0, asm.Word)}
}

func TestConstantsAreWrittenIntoTheProgram(t *testing.T) {
	constants := map[uint32][]byte{8: {0xfe, 0xff, 0xff, 0xff}}
	jump := asm.Instruction{OpCode: asm.Ja.Op(asm.ImmSource), Offset: 2} // past the address
	for name, c := range map[string]struct {
		program asm.Instructions
		want    bool
	}{
		"as compilers write it": {constantLoad(asm.R2, asm.R2, 8), true},
		"address in use":        {constantLoad(asm.R1, asm.R2, 8), false},
		"not a constant":        {constantLoad(asm.R2, asm.R2, 4), false},
		"jumped to":             {append(asm.Instructions{jump}, constantLoad(asm.R2, asm.R2, 8)...), false},
	} {
		t.Run(name, func(t *testing.T) {
			slots, at := slotsOf(c.program), len(c.program)-2
			inline(c.program, ".rodata", constants)
			if got := slotsOf(c.program); got != slots {
				t.Errorf("%d slots, were %d", got, slots)
			}
			if got := !c.program[at].IsLoadFromMap(); got != c.want {
				t.Fatalf("replaced: %v, want %v", got, c.want)
			}
			if c.want && (c.program[at].Constant != 0xfffffffe || c.program[at].Dst != asm.R2) {
				t.Errorf("replaced by %v", c.program[at])
			}
		})
	}
}

func slotsOf(program asm.Instructions) (n int) {
	for i := range program {
		n += int(program[i].Size()) / asm.InstructionSize
	}
	return n
}

func TestProgramReadsWhatIsOfItsInterface(t *testing.T) {
	const section, first = ".data.control_page", 32
	read := func(to, by asm.Register, section string, offset int16) asm.Instructions {
		return asm.Instructions{asm.LoadMapValue(by, 0, 0).WithReference(section), asm.LoadMem(to, by, offset, asm.Word)}
	}
	for name, c := range map[string]struct {
		program asm.Instructions
		want    int16
	}{
		"the first":       {read(asm.R2, asm.R2, section, first), first + 8},
		"something else":  {read(asm.R2, asm.R2, section, first+4), first + 4},
		"another section": {read(asm.R2, asm.R2, ".data.slots", first), first},
		"another address": {append(read(asm.R2, asm.R2, section, first)[:1], asm.LoadMem(asm.R2, asm.R3, first, asm.Word)), first},
	} {
		t.Run(name, func(t *testing.T) {
			err := aim(c.program, section, first, 8)
			if got := c.program[1].Offset; got != c.want || (err == nil) != (name == "the first") {
				t.Errorf("reads at %d, want %d; error %v", got, c.want, err)
			}
		})
	}
}
