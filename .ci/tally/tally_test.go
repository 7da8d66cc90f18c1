package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// module writes a module with the given files and returns its directory.
func module(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = cmpOr(files["go.mod"], "module example.test/m\n\ngo 1.26.0\n")
	for name, text := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

const tests = `package a
import "testing"
func TestPass(t *testing.T) { t.Run("sub", func(t *testing.T) {}) }
func TestSkip(t *testing.T) { t.Skip("no such kernel") }
`

// TestCounting runs the real go test on modules that fail in every way.
func TestCounting(t *testing.T) {
	for name, c := range map[string]struct {
		files  map[string]string
		strict bool
		want   string
		shown  string
	}{
		"passes and skips": {files: map[string]string{"a_test.go": tests}, want: "2 passed, 0 failed, 1 skipped", shown: "no such kernel"},
		"a skip in CI":     {files: map[string]string{"a_test.go": tests}, strict: true, want: "2 passed, 1 failed", shown: "no such kernel"},
		"a failed test": {files: map[string]string{"a_test.go": "package a\nimport \"testing\"\nfunc TestBad(t *testing.T) { t.Error(\"seven\") }\n"},
			want: "0 passed, 1 failed", shown: "seven"},
		"a panic": {files: map[string]string{"a_test.go": "package a\nimport \"testing\"\nfunc TestBad(t *testing.T) { panic(\"eight\") }\n"},
			want: "0 passed, 1 failed", shown: "eight"},
		"an early exit": {files: map[string]string{"a_test.go": "package a\nimport (\"os\"; \"testing\")\nfunc TestMain(m *testing.M) { println(\"nine\"); os.Exit(3) }\n"},
			want: "0 passed, 1 failed", shown: "nine"},
		"a package that does not build": {files: map[string]string{"a_test.go": tests, "b/b_test.go": "package b\nvar x int = \"ten\"\n"},
			want: "2 passed, 1 failed, 1 skipped", shown: "ten"},
		"a module that does not load": {files: map[string]string{"go.mod": "module example.test/m\n\nrequire (\n", "a_test.go": tests},
			want: "0 passed, 1 failed", shown: "go.mod"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			n := counter{out: &out, strict: c.strict}
			runModule(&n, module(t, c.files), "./...")
			if got := n.summary(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if !strings.Contains(out.String(), c.shown) {
				t.Errorf("does not show %q", c.shown)
			}
			if t.Failed() {
				t.Log(out.String())
			}
		})
	}
}

func TestAMissingModuleIsAFailure(t *testing.T) {
	n := counter{out: &bytes.Buffer{}}
	runModule(&n, filepath.Join(t.TempDir(), "nowhere"), "./...")
	if n.failed != 1 {
		t.Errorf("%s", n.summary())
	}
}

func TestOutputThatIsNotJSONIsAFailure(t *testing.T) {
	n := counter{out: &bytes.Buffer{}}
	n.read(strings.NewReader("go: no such tool\n"))
	if n.failed != 1 {
		t.Errorf("%s", n.summary())
	}
}
