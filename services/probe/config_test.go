package main

import (
	"strings"
	"testing"
	"time"
)

// TestConfigBounds refuses sizes that would take the machine down with them.
func TestConfigBounds(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string // empty: it is good
	}{
		{"as it is", func(*Config) {}, ""},
		{"the largest table", func(c *Config) { c.MaxLeases = maxLeases }, ""},
		{"a larger one", func(c *Config) { c.MaxLeases = maxLeases + 1 }, "WEIR_PROBE_MAX_LEASES"},
		{"no lease", func(c *Config) { c.MaxLeases = 0 }, "WEIR_PROBE_MAX_LEASES"},
		{"no source", func(c *Config) { c.MaxSources = 0 }, "WEIR_PROBE_MAX_SOURCES"},
		{"a window of no time", func(c *Config) { c.Window = 1 }, "WEIR_PROBE_WINDOW"},
	} {
		cfg := Config{Interfaces: []string{"eth0"}, Host: "h", Window: time.Second, Mode: "observe", XDPMode: "auto",
			PinPath: "/sys/fs/bpf/weir", MaxSources: 1, MaxLeases: 1}
		c.change(&cfg)
		err := cfg.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}
