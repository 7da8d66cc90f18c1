package eval

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/weir-net/weir/loadtest/capture"
)

// label writes more about a capture into a directory's labels.
func label(t *testing.T, dir string, more map[string]map[string]any) {
	t.Helper()
	path := filepath.Join(dir, "labels.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]any{}
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for name, fields := range more {
		for k, v := range fields {
			all[name][k] = v
		}
	}
	if b, err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEvaluation runs the short evaluation on a flood and on ordinary traffic of
// our own making, and reads its tables.
func TestEvaluation(t *testing.T) {
	bin := os.Getenv("WEIR_BIN")
	if os.Geteuid() != 0 || bin == "" {
		if os.Getenv("CI") != "" {
			t.Fatal("needs root, and the programs (WEIR_BIN)")
		}
		t.Skip("needs root, and the programs (WEIR_BIN)")
	}
	dir := t.TempDir()
	if err := capture.Synthesize(dir, 1); err != nil {
		t.Fatal(err)
	}
	label(t, dir, map[string]map[string]any{
		"synthetic-spoofed-syn": {"category": "attack-spoofed-syn", "expected": "signature", "attackers": "every packet", "attack_onset_s": 0},
		"synthetic-two-way":     {"category": "benign", "expected": "none", "attackers": []string{}},
	})
	var out bytes.Buffer
	err := Run(t.Context(), Config{
		Bin: bin, Captures: dir, ID: fmt.Sprintf("t%x", os.Getpid()), Quick: true, Parallel: 2, Progress: t.Output(), Out: &out,
	})
	t.Logf("\n%s", &out)
	// A busy machine may miss a target of time.
	if err != nil && !errors.Is(err, ErrMissed) {
		t.Fatal(err)
	}
	for _, want := range []string{
		`synthetic-spoofed-syn +signature +1 of 1 `,   // found
		`synthetic-two-way +none +1 +\d{3,} +0 +0 +-`, // played, not touched
		`Weir +1 of 1 `,
		`no policy +0 of 1 +0 +0 +100\.0 +0\.000 +0 +0 +100\.00`,
		`benign sources blocked +0 +≤ 0 +met`,
		`per-source leases on signature attacks +0 +≤ 0 +met`,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("the tables do not say %q", want)
		}
	}
}
