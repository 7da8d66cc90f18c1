package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-net/weir/services/internal/kit/config"
)

// load reads the configuration from variables, as the service does.
func load(t *testing.T, variables map[string]string) (*Config, error) {
	t.Helper()
	for k, v := range variables {
		t.Setenv(k, v)
	}
	var c Config
	return &c, config.Load(config.Part{Prefix: prefix, Into: &c})
}

func TestConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("correct-horse-battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		variables map[string]string
		want      string
	}{
		"nothing":                 {nil, ""},
		"the world without login": {map[string]string{"WEIR_RING_HTTP_ADDRESS": "0.0.0.0:9473"}, "can be reached from elsewhere"},
		"the world with a file":   {map[string]string{"WEIR_RING_HTTP_ADDRESS": "0.0.0.0:9473", "WEIR_RING_TOKEN_FILE": file, "WEIR_RING_ACT": "true"}, ""},
		"acting without login":    {map[string]string{"WEIR_RING_ACT": "true"}, "acting needs a login"},
		"a proxy":                 {map[string]string{"WEIR_RING_HEADER": "X-User", "WEIR_RING_PROXIES": "10.0.0.1,10.1.0.0/16", "WEIR_RING_ACT": "true"}, ""},
		"a proxy that is none":    {map[string]string{"WEIR_RING_HEADER": "X-User", "WEIR_RING_PROXIES": "proxy.example"}, "no address or prefix"},
		"no such file":            {map[string]string{"WEIR_RING_TOKEN_FILE": file + "x"}, "reading the token"},
		"two tokens":              {map[string]string{"WEIR_RING_TOKEN_FILE": file, "WEIR_RING_TOKEN": "correct-horse-battery"}, "one of them"},
		"a falling scale":         {map[string]string{"WEIR_RING_SCALE": "3,2,1"}, "three rising numbers"},
		"a misspelt variable":     {map[string]string{"WEIR_RING_TOKN": "x"}, "WEIR_RING_TOKN"},
		"a certificate alone":     {map[string]string{"WEIR_RING_TLS_CERT_FILE": file}, "go together"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.variables)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// The README's table is what the service prints.
func TestReadmeHasEveryVariable(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	config.Markdown(&table, config.Part{Prefix: prefix, Into: &Config{}})
	if !bytes.Contains(readme, table.Bytes()) {
		t.Errorf("the README's table is not what -help-markdown prints:\n%s", table.String())
	}
}

// A binary that could be reached without a login does not start at all.
func TestRefusesToStartOpenToTheWorld(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "weir-ring")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	cmd := exec.Command(binary)
	cmd.Env = []string{"WEIR_RING_HTTP_ADDRESS=0.0.0.0:0"}
	cmd.WaitDelay = 5 * time.Second
	timer := time.AfterFunc(5*time.Second, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); err == nil || code != 2 || !strings.Contains(string(out), "can be reached from elsewhere") {
		t.Errorf("exit code %d, said %s", code, out)
	}
}
