package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBadRulesAreBadConfiguration holds that a service with rules that it cannot
// read ends as one with a bad variable does: a supervisor that tried again would
// hear the same.
func TestBadRulesAreBadConfiguration(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\nsources: [{id: R1, nothing: 3}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"": "", bad: "bad.yaml:2", filepath.Join(t.TempDir(), "none.yaml"): "no such file"} {
		c := Config{Group: "g", Scope: "interface", RememberEvery: time.Minute, Rules: path}
		err := c.Validate()
		switch {
		case want == "":
			if err != nil || c.rules == nil {
				t.Errorf("the embedded rules: %v", err)
			}
		case err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "WEIR_POLICY_RULES"):
			t.Errorf("rules %q: %v, want %q", path, err, want)
		}
	}
}
