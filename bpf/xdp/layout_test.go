package xdp

import (
	"fmt"
	"hash/fnv"
	"io"
	"reflect"
	"testing"
)

// TestLayoutVersion: a process takes what an earlier one pinned for its own if the versions
// are the same. So whoever changes what lies there changes the version.
func TestLayoutVersion(t *testing.T) {
	h := fnv.New64a()
	for _, pinned := range []any{
		weirControl{}, weirSlot{}, weirSet4{}, weirSet6{}, weirNames6{}, weirBatch{}, weirOutcomes{}, weirTarget{}, weirTotals{},
		weirSketch{}, weirLease{}, weirListed4{}, weirLeaseSet{}, weirListedCount{}, weirExactKey{}, weirPrefixKey{},
		weirPrefixValue{}, weirBucketKey{}, weirSignature{},
	} {
		describe(h, reflect.TypeOf(pinned))
	}
	const version, want = 16, uint64(0x83df9eefcdf89265)
	if got := h.Sum64(); layoutVersion != version || got != want {
		t.Errorf("version %d has the layout %#x, want version %d with %#x: raise layoutVersion, and say so here",
			layoutVersion, got, version, want)
	}
}

// describe writes the names and places of all that is in a type.
func describe(w io.Writer, t reflect.Type) {
	fmt.Fprintln(w, t.Kind(), t.Size())
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			fmt.Fprintln(w, f.Name, f.Offset)
			describe(w, f.Type)
		}
	case reflect.Array:
		describe(w, t.Elem())
	}
}
