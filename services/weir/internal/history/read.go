package history

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

// ErrCutOff is returned at the end of a file that was not ended: what came before
// it is good.
var ErrCutOff = errors.New("the history is cut off here")

// Reader reads a file. It is not safe for concurrent use.
type Reader struct {
	Info    Info
	z       *zstd.Decoder
	in      *bufio.Reader
	records uint64
}

// NewReader reads the beginning of a file. Whoever is done calls Close, which
// leaves r open.
func NewReader(r io.Reader) (*Reader, error) {
	first := make([]byte, len(magic))
	if _, err := io.ReadFull(r, first); err != nil || string(first) != magic {
		return nil, errors.New("reading the history: this is no file of weir record")
	}
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
	if err != nil {
		return nil, fmt.Errorf("decompressing the history: %w", err)
	}
	h := &Reader{z: z, in: bufio.NewReaderSize(z, 1<<16)}
	kind, body, err := h.frame()
	if err == nil && kind != info {
		err = errors.New("reading the history: it does not say what it is")
	}
	if err == nil {
		if err = json.Unmarshal(body, &h.Info); err != nil {
			err = fmt.Errorf("reading the history: %w", err)
		}
	}
	if err != nil {
		z.Close()
		return nil, err
	}
	return h, nil
}

// Close ends reading.
func (h *Reader) Close() { h.z.Close() }

// Read returns the next record, io.EOF at the end, or ErrCutOff where the file
// stops without one.
func (h *Reader) Read() (Record, error) {
	for {
		kind, body, err := h.frame()
		if err != nil {
			return Record{}, err
		}
		switch kind {
		case end:
			if n, size := binary.Uvarint(body); size <= 0 || n != h.records {
				return Record{}, fmt.Errorf("reading the history: it ends after %d records, and says %d", h.records, n)
			}
			return Record{}, io.EOF
		case Counts, Commands, Events:
			h.records++
			return parse(kind, body)
		}
		// Kinds of a later version are passed over.
	}
}

// frame returns the next frame; its body is new memory.
func (h *Reader) frame() (Kind, []byte, error) {
	n, err := binary.ReadUvarint(h.in)
	if err == nil && (n == 0 || n > maxFrame) {
		return 0, nil, fmt.Errorf("reading the history: a frame of %d bytes, at most %d", n, maxFrame)
	}
	var body []byte
	if err == nil {
		body = make([]byte, n)
		_, err = io.ReadFull(h.in, body)
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, ErrCutOff
	case err != nil:
		return 0, nil, fmt.Errorf("reading the history: %w", err)
	}
	return Kind(body[0]), body[1:], nil
}

// parse reads the body of a record.
func parse(kind Kind, b []byte) (Record, error) {
	c := cursor{b: b}
	r := Record{Kind: kind, Partition: int32(c.uvarint(1 << 31)), Offset: int64(c.uvarint(1 << 63))}
	r.Timestamp = time.UnixMilli(c.varint())
	r.Key = c.bytes(c.uvarint(uint64(len(b))))
	if has := c.bytes(1); len(has) == 1 && has[0] == 1 {
		r.Value = c.b
	}
	if c.bad {
		return Record{}, errors.New("reading the history: a frame is not what it should be")
	}
	return r, nil
}

// cursor reads from the front of b, and remembers if it could not.
type cursor struct {
	b   []byte
	bad bool
}

// uvarint reads a number below limit.
func (c *cursor) uvarint(limit uint64) uint64 {
	n, size := binary.Uvarint(c.b)
	if size <= 0 || n >= limit {
		c.bad = true
		return 0
	}
	c.b = c.b[size:]
	return n
}

func (c *cursor) varint() int64 {
	n, size := binary.Varint(c.b)
	if size <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[size:]
	return n
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.bad = true
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}
