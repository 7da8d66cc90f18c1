package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDemoNeedsTheRing gives the demo a ring that ends at once: the demo must
// fail, and say why.
func TestDemoNeedsTheRing(t *testing.T) {
	dir := t.TempDir()
	entries, err := os.ReadDir(bin(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Symlink(filepath.Join(bin(t), e.Name()), filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	ring := filepath.Join(dir, "weir-ring")
	if err := os.Remove(ring); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ring, []byte("#!/bin/sh\necho no page today >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	id := labID(t)
	b, err := exec.CommandContext(within(t, time.Minute), filepath.Join(dir, "loadtest"), "demo", "-id", id, "-bin", dir).CombinedOutput()
	out := string(b)
	if err == nil || !strings.Contains(out, "weir-ring ended by itself") || !strings.Contains(out, "no page today") {
		t.Errorf("the demo ended with %v and said:\n%s", err, out)
	}
	if left := remains(id); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
