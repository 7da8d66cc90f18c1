package history

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Writer writes a file. It is not safe for concurrent use.
type Writer struct {
	z       *zstd.Encoder
	frame   []byte
	records uint64
}

// NewWriter begins a file. Whoever is done calls Close, which leaves w open.
func NewWriter(w io.Writer, i Info) (*Writer, error) {
	if _, err := io.WriteString(w, magic); err != nil {
		return nil, fmt.Errorf("writing the history: %w", err)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compressing the history: %w", err)
	}
	text, err := json.Marshal(i)
	if err != nil {
		return nil, fmt.Errorf("describing the history: %w", err)
	}
	h := &Writer{z: z}
	if err := h.write(info, text); err != nil {
		return nil, err
	}
	return h, h.Flush()
}

// Write appends a record.
func (h *Writer) Write(r *Record) error {
	b := h.frame[:0]
	b = binary.AppendUvarint(b, uint64(r.Partition))
	b = binary.AppendUvarint(b, uint64(r.Offset))
	b = binary.AppendVarint(b, r.Timestamp.UnixMilli())
	b = binary.AppendUvarint(b, uint64(len(r.Key)))
	b = append(b, r.Key...)
	if r.Value == nil {
		b = append(b, 0)
	} else {
		b = append(append(b, 1), r.Value...)
	}
	h.frame = b
	h.records++
	return h.write(r.Kind, b)
}

func (h *Writer) write(kind Kind, body []byte) error {
	if len(body) >= maxFrame {
		return fmt.Errorf("writing the history: a record has %d bytes, at most %d", len(body), maxFrame)
	}
	head := binary.AppendUvarint(nil, uint64(len(body)+1))
	_, err := h.z.Write(append(head, byte(kind)))
	if err == nil {
		_, err = h.z.Write(body)
	}
	if err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	return nil
}

// Flush makes all that was written readable, should the file be cut off here.
func (h *Writer) Flush() error {
	if err := h.z.Flush(); err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	return nil
}

// Close ends the file.
func (h *Writer) Close() error {
	if err := h.write(end, binary.AppendUvarint(nil, h.records)); err != nil {
		return err
	}
	if err := h.z.Close(); err != nil {
		return fmt.Errorf("writing the history: %w", err)
	}
	return nil
}
