package gokakit

import (
	"fmt"

	"github.com/lovoo/goka"
)

// Bad is what a record that cannot be decoded becomes: a codec's error would
// end the processor for ever.
type Bad struct {
	Err  error
	Size int // bytes of the value
}

// Codec encodes and decodes values of one type without ever failing a stream.
type Codec[T any] struct {
	EncodeFunc func(T) ([]byte, error)
	DecodeFunc func([]byte) (T, error)
}

var _ goka.Codec = Codec[int]{}

// Decode returns a T, or a Bad. A panic of the decoder becomes a Bad, too.
func (c Codec[T]) Decode(b []byte) (v any, err error) {
	defer func() {
		if p := recover(); p != nil {
			v, err = Bad{Err: fmt.Errorf("decoder panicked: %v", p), Size: len(b)}, nil
		}
	}()
	t, err := c.DecodeFunc(b)
	if err != nil {
		return Bad{Err: err, Size: len(b)}, nil
	}
	return t, nil
}

// Encode encodes a T.
func (c Codec[T]) Encode(v any) ([]byte, error) {
	t, ok := v.(T)
	if !ok {
		return nil, fmt.Errorf("encoding a %T, want %T", v, t)
	}
	return c.EncodeFunc(t)
}
