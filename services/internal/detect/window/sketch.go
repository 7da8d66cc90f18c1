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

// The sketches of a window, and of the table's record.
const (
	sketchAll = iota
	sketchSYN
	sketchSYNACK
	sketches
)

// register is one that is set. Most interfaces see few sources, and forty windows of
// each are remembered: then only the registers that are set are.
type register struct {
	sketch, rank uint8
	index        uint16
}

// fewRegisters is up to where a list of registers is remembered, else all of them.
const fewRegisters = sketchSize / 8

// pack returns what is to be remembered of a sketch: its registers appended to few,
// or all of them. It may be none.
func pack(few []register, sketch uint8, registers []byte) (list []register, all []byte) {
	if len(registers) != sketchSize {
		return few, nil
	}
	before := len(few)
	for i := 0; i < sketchSize; i += 8 {
		if binary.LittleEndian.Uint64(registers[i:]) == 0 {
			continue
		}
		for j, r := range registers[i : i+8] {
			if r != 0 {
				few = append(few, register{sketch, min(r, maxRank), uint16(i + j)})
			}
		}
		if len(few)-before > fewRegisters {
			return few[:before], bounded(registers)
		}
	}
	return few, nil
}

// bounded returns a copy of registers, none above maxRank: what was decoded with
// them need not stay in memory.
func bounded(registers []byte) []byte {
	all := make([]byte, sketchSize)
	for i, r := range registers {
		all[i] = min(r, maxRank)
	}
	return all
}

// union is what several windows have seen together.
type union struct {
	registers [sketchSize]byte
	any       bool
}

// set merges one register.
func (u *union) set(r register) {
	u.any = true
	u.registers[r.index] = max(u.registers[r.index], r.rank)
}

// add merges all of a window's registers, or none.
func (u *union) add(all []byte) {
	u.any = u.any || all != nil
	// Eight registers at once: with the highest bit of each byte of a set, the
	// difference keeps it where a ≥ b, since no register reaches 128.
	const highest = 0x8080808080808080
	for i := 0; i+8 <= len(all); i += 8 {
		a, b := binary.LittleEndian.Uint64(u.registers[i:]), binary.LittleEndian.Uint64(all[i:])
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
	sum, none := 0.0, 0
	for i := 0; i+8 <= len(registers); i += 8 {
		if binary.LittleEndian.Uint64(registers[i:]) == 0 {
			none += 8
			continue
		}
		for _, r := range registers[i : i+8] {
			if r == 0 {
				none++
				continue
			}
			sum += math.Float64frombits(uint64(1023-int(r)) << 52) // 2^-r
		}
	}
	empty := float64(none)
	sum += empty
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
