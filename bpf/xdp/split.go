package xdp

import (
	"math/bits"
	"slices"
)

const (
	// joinMost is how many records are joined at once, if there may be fewer: their
	// index is then in the processor's second cache.
	joinMost = 2048
	// indexMost is how many an index can tell apart, whose places have 16 bits so that
	// many of them fit a core's cache.
	indexMost = 1<<16 - 1
	// splitSize is how many records a part of more has, about.
	splitSize = 512
)

// mostAtOnce is how many records of a cluster are joined without a split, if so many are
// late.
func (r *reader) mostAtOnce(late int) int {
	return min(max(joinMost, r.cpus*blockRecords+late), indexMost)
}

// split calls each with parts of records, such that those of a source are in one, unless
// it had more than indexMost, which no source has. It is for clusters that a flood has
// filled before its sets became hot. It needs as much room again in to.
func split[R any](records, to []R, hash func(*R) uint64, each func([]R)) {
	shift := 64 - bits.Len(uint(len(records)/splitSize))
	ends := make([]uint32, 1<<(64-shift))
	for i := range records {
		ends[hash(&records[i])>>shift]++
	}
	sum := uint32(0)
	for i, n := range ends {
		ends[i] = sum // where the part begins, at first
		sum += n
	}
	for i := range records {
		end := &ends[hash(&records[i])>>shift]
		to[*end] = records[i]
		*end++
	}
	begin := uint32(0)
	for _, end := range ends {
		for part := range slices.Chunk(to[begin:end], indexMost) {
			each(part)
		}
		begin = end
	}
}

// reserve returns records with room for more behind the first n, which stay.
func reserve[R any](records []R, n, more int) []R {
	if len(records) >= n+more {
		return records
	}
	grown := make([]R, max(n+more, 2*n))
	copy(grown, records[:n])
	return grown
}
