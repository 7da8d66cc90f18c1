package schemas

import (
	_ "embed"
	"encoding/binary"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// murmur2Seed is the seed of Kafka's own murmur2 (org.apache.kafka.common.utils.Utils).
const murmur2Seed uint32 = 0x9747b28c

// Murmur2 is the 32-bit hash by which Java's and franz-go's default
// partitioners, and kcat's murmur2_random, spread keys.
func Murmur2(b []byte) uint32 {
	const (
		m = 0x5bd1e995
		r = 24
	)
	h := murmur2Seed ^ uint32(len(b))
	for ; len(b) >= 4; b = b[4:] {
		k := binary.LittleEndian.Uint32(b)
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
	}
	switch len(b) {
	case 3:
		h ^= uint32(b[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(b[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(b[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}

// Partition is the one rule that maps a key to one of n partitions. It panics
// if n is not positive.
func Partition(key []byte, n int32) int32 {
	return int32(Murmur2(key)&0x7fffffff) % n
}

// hash32 collects what is written and hashes it at the end: murmur2 mixes the
// length in first, so it cannot be computed in a stream.
type hash32 struct{ b []byte }

// NewHash32 returns the partition rule as a hash.Hash32 whose Sum32 is
// murmur2 & 0x7fffffff: what goka's WithHasher and WithViewHasher take. Sum32
// modulo the partition count equals Partition.
func NewHash32() hash.Hash32 { return &hash32{} }

func (h *hash32) Write(p []byte) (int, error) { h.b = append(h.b, p...); return len(p), nil }
func (h *hash32) Sum32() uint32               { return Murmur2(h.b) & 0x7fffffff }
func (h *hash32) Reset()                      { h.b = h.b[:0] }
func (h *hash32) Size() int                   { return 4 }
func (h *hash32) BlockSize() int              { return 4 }
func (h *hash32) Sum(b []byte) []byte         { return binary.BigEndian.AppendUint32(b, h.Sum32()) }

// PartitionVector is what Kafka's Java client answers for one key.
type PartitionVector struct {
	Key          string
	Murmur2      uint32
	Partition12  int32 // of 12 partitions
	Partition100 int32 // of 100 partitions
}

//go:embed vectors/partition.tsv
var partitionVectors string

// PartitionVectors returns 1,000 keys with the partitions that Kafka's Java
// client (kafka-clients 4.3.0) chose for them, for tests of every client that
// must agree. vectors/README.md says how they were made.
func PartitionVectors() ([]PartitionVector, error) {
	var out []PartitionVector
	for line := range strings.Lines(partitionVectors) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("reading partition vectors: line %d has %d fields, want 4", len(out)+1, len(f))
		}
		h, err := strconv.ParseUint(f[1], 16, 32)
		if err != nil {
			return nil, fmt.Errorf("reading partition vectors: %w", err)
		}
		p12, err := strconv.ParseInt(f[2], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("reading partition vectors: %w", err)
		}
		p100, err := strconv.ParseInt(f[3], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("reading partition vectors: %w", err)
		}
		out = append(out, PartitionVector{Key: f[0], Murmur2: uint32(h), Partition12: int32(p12), Partition100: int32(p100)})
	}
	return out, nil
}
