package e2e_test

import (
	"bufio"
	"net/http"
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

// TestDemoShowsThePage asks for the page where the demo says that it is, and for
// what it is told: the demo's interface.
func TestDemoShowsThePage(t *testing.T) {
	p := runProgram(t, "demo", "-id", labID(t), "-bin", bin(t))
	line := p.say(t, "watch it at http://", 30*time.Second)
	url := line[strings.Index(line, "http://"):]
	if page := read(t, url, "</html>"); !strings.Contains(page, "Onion-Ring") {
		t.Errorf("%s serves %q", url, page)
	}
	read(t, url+"api/stream", `"host":"victim","interface":"weir-data"`)
	if err := p.end(t, os.Interrupt); err == nil {
		t.Error("interrupted, the demo says that all went well")
	}
}

// read gets url and returns what comes up to the text that is waited for.
func read(t *testing.T, url, until string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(within(t, 20*time.Second), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got strings.Builder
	for in := bufio.NewReader(resp.Body); !strings.Contains(got.String(), until); {
		line, err := in.ReadString('\n')
		got.WriteString(line)
		if err != nil {
			t.Fatalf("%s ended with %v before %q:\n%s", url, err, until, got.String())
		}
	}
	return got.String()
}
