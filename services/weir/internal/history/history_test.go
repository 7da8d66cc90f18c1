package history

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

var from = time.UnixMilli(1_767_323_045_250).UTC()

// written returns a file of n records, flushed after each, and the records.
func written(t testing.TB, n int) ([]byte, []Record) {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Info{CreatedAt: from, From: from, Version: "test", Counts: "weir.counts.v1", Commands: "weir.commands.v1"})
	if err != nil {
		t.Fatal(err)
	}
	var all []Record
	for i := range n {
		r := Record{Kind: Counts, Partition: int32(i % 12), Offset: int64(i) << 20, Timestamp: time.UnixMilli(from.UnixMilli() + int64(i)),
			Key: []byte("h/eth0"), Value: bytes.Repeat([]byte{byte(i)}, i*100)}
		switch i % 4 {
		case 1:
			r.Kind, r.Value = Commands, nil
		case 2:
			r.Key, r.Value = []byte{}, []byte{}
		}
		all = append(all, r)
		if err := w.Write(&r); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), all
}

// read returns all records of a file and what ended it.
func read(file []byte) (*Reader, []Record, error) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	var all []Record
	for {
		x, err := r.Read()
		if err != nil {
			return r, all, err
		}
		all = append(all, x)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	file, want := written(t, 50)
	r, got, err := read(file)
	if !errors.Is(err, io.EOF) || !reflect.DeepEqual(got, want) {
		t.Errorf("%d records, %v; want %d", len(got), err, len(want))
	}
	if r.Info.Version != "test" || !r.Info.From.Equal(from) || r.Info.Counts != "weir.counts.v1" {
		t.Errorf("info %+v", r.Info)
	}
	if _, err := written2(); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a record that is too large: %v", err)
	}
}

func written2() (*Writer, error) {
	w, err := NewWriter(io.Discard, Info{})
	if err != nil {
		return nil, err
	}
	return w, w.Write(&Record{Kind: Counts, Value: make([]byte, maxFrame)})
}

// TestACutOffFileIsGoodAsFarAsItGoes, wherever it is cut.
func TestACutOffFileIsGoodAsFarAsItGoes(t *testing.T) {
	file, want := written(t, 20)
	last := 0
	for n := len(magic) + 40; n < len(file)-16; n += 7 {
		_, got, err := read(file[:n])
		if !errors.Is(err, ErrCutOff) && n > 300 {
			t.Fatalf("cut at %d of %d: %v", n, len(file), err)
		}
		if len(got) < last || len(got) > 0 && !reflect.DeepEqual(got, want[:len(got)]) {
			t.Fatalf("cut at %d: %d records, %d before", n, len(got), last)
		}
		last = len(got)
	}
	if last < len(want)-2 {
		t.Errorf("at most %d records of a file without its end, want %d", last, len(want))
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	for _, file := range []string{"", "weir-history 2\n", "PK\x03\x04 something else altogether", magic, magic + "not compressed"} {
		if _, _, err := read([]byte(file)); err == nil {
			t.Errorf("%q is read", file)
		}
	}
}

func FuzzRead(f *testing.F) {
	file, _ := written(f, 5)
	f.Add(file)
	f.Fuzz(func(_ *testing.T, file []byte) {
		_, _, err := read(file)
		_ = fmt.Sprint(err)
	})
}
