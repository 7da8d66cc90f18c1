package window

import (
	"math"
	"math/bits"
)

// sketchSize is the number of HyperLogLog registers of the contract.
const sketchSize = 1 << 10

// union merges registers into the sketch and returns it; nil is the empty one.
func union(into, from []byte) []byte {
	if len(from) != sketchSize {
		return into
	}
	if into == nil {
		into = make([]byte, sketchSize)
	}
	for i, r := range from {
		into[i] = max(into[i], r)
	}
	return into
}

// distinct estimates how many sources a sketch has seen: HyperLogLog, with
// linear counting where many registers are still empty (Flajolet et al. 2007).
// The standard error is 3.3 %.
func distinct(registers []byte) uint64 {
	if registers == nil {
		return 0
	}
	const m = float64(sketchSize)
	sum, empty := 0.0, 0.0
	for _, r := range registers {
		sum += math.Ldexp(1, -int(r))
		if r == 0 {
			empty++
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
