package window

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// sketchSize is the number of HyperLogLog registers of the contract.
const sketchSize = 1 << 10

// maxRank bounds a register: nothing that counts packets gets near it, and below
// 128 eight registers can be compared at once.
const maxRank = 127

// sketch is one window's registers. Most interfaces see few sources, and forty
// windows of each are remembered: then only the registers that are set are.
type sketch struct {
	few []register
	all []byte // sketchSize; nil: see few
}

type register struct {
	index uint16
	rank  byte
}

// fewRegisters is up to where a list of registers is smaller than all of them.
const fewRegisters = sketchSize / 8

// pack keeps registers, which may be none.
func pack(registers []byte) sketch {
	if len(registers) != sketchSize {
		return sketch{}
	}
	n, high := 0, byte(0)
	for _, r := range registers {
		if r != 0 {
			n++
		}
		high |= r
	}
	if n > fewRegisters && high <= maxRank {
		return sketch{all: registers}
	}
	if n > fewRegisters {
		all := make([]byte, sketchSize)
		for i, r := range registers {
			all[i] = min(r, maxRank)
		}
		return sketch{all: all}
	}
	few := make([]register, 0, n)
	for i, r := range registers {
		if r != 0 {
			few = append(few, register{uint16(i), min(r, maxRank)})
		}
	}
	return sketch{few: few}
}

// union is what several windows have seen together.
type union struct {
	registers [sketchSize]byte
	any       bool
}

// add merges a window's registers.
func (u *union) add(s sketch) {
	u.any = u.any || len(s.few) > 0 || s.all != nil
	for _, r := range s.few {
		u.registers[r.index] = max(u.registers[r.index], r.rank)
	}
	// Eight registers at once: with the highest bit of each byte of a set, the
	// difference keeps it where a ≥ b, since no register reaches 128.
	const highest = 0x8080808080808080
	for i := 0; i+8 <= len(s.all); i += 8 {
		a, b := binary.LittleEndian.Uint64(u.registers[i:]), binary.LittleEndian.Uint64(s.all[i:])
		keep := ((a | highest) - b) & highest
		keep = keep>>7*0xff | keep
		binary.LittleEndian.PutUint64(u.registers[i:], a&keep|b&^keep)
	}
}

// distinct estimates how many sources were seen.
func (u *union) distinct() uint64 {
	if !u.any {
		return 0
	}
	return distinct(u.registers[:])
}

// distinct estimates how many sources a sketch has seen: HyperLogLog, with
// linear counting where many registers are still empty (Flajolet et al. 2007).
// The standard error is 3.3 %.
func distinct(registers []byte) uint64 {
	const m = float64(sketchSize)
	sum, empty := 0.0, 0.0
	for i := 0; i+8 <= len(registers); i += 8 {
		if binary.LittleEndian.Uint64(registers[i:]) == 0 {
			sum, empty = sum+8, empty+8
			continue
		}
		for _, r := range registers[i : i+8] {
			sum += math.Float64frombits(uint64(1023-int(r)) << 52) // 2^-r
			if r == 0 {
				empty++
			}
		}
	}
	estimate := 0.7213 / (1 + 1.079/m) * m * m / sum
	if estimate <= 2.5*m && empty > 0 {
		estimate = m * math.Log(m/empty)
	}
	return uint64(math.Round(estimate))
}

// linear estimates distinct sources from a 64-bit bitmap. A full one says "more
// than this can tell".
func linear(bitmap uint64) uint64 {
	ones := bits.OnesCount64(bitmap)
	if ones == 64 {
		return 266
	}
	return uint64(math.Round(-64 * math.Log(float64(64-ones)/64)))
}
