// Package golden compares what a codec writes with the bytes that are committed
// under testdata/v<n>: within a version they never change.
package golden

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

// update is set by "go test ./... -update", which rewrites the golden files.
var update = flag.Bool("update", false, "rewrite the golden files")

// Check fails t unless got is what the file testdata/v1/<name>.golden of the
// package under test holds. With -update it writes the file.
func Check(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "v1", name+".golden")
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the encoding changed within its version\ngot  %q\nwant %q", path, got, want)
	}
}
