package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// run runs the binary with nothing but the given environment.
func run(t *testing.T, binary string, env []string, args ...string) (code int, out, errOut string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Env = env
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// TestBinary runs the built program as a person would.
func TestBinary(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "-ldflags", "-X main.version=1.2.3", ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	env := []string{"WEIR_KAFKA_BROKERS=" + strings.Join(c.ListenAddrs(), ","), "USER=carol", "HOME=" + os.Getenv("HOME")}
	for _, step := range []struct {
		args     []string
		code     int
		out, err string // parts of the output
	}{
		{[]string{"version"}, 0, "weir 1.2.3", ""},
		{[]string{"--version"}, 0, "1.2.3", ""},
		{[]string{"version", "-o", "json"}, 0, `{"version":"1.2.3"}`, ""},
		{[]string{"--help"}, 0, "Exit codes:", ""},
		{[]string{"-help"}, 0, "WEIR_KAFKA_BROKERS", ""},
		{[]string{"block", "-help"}, 0, "--ttl", ""},
		{[]string{"list"}, 1, "", "weir topics apply creates it"},
		{[]string{"topics", "check"}, 6, "is missing", ""},
		{[]string{"topics", "apply"}, 0, "+ weir.commands.v1 created", ""},
		{[]string{"topics", "check"}, 0, "is as it must be", ""},
		{[]string{"block", "203.0.113.7"}, 4, "no live probe is concerned; written all the same at offset 0", ""},
		{[]string{"list"}, 0, "carol@", ""},
		{[]string{"unblock", "203.0.113.7"}, 4, "offset 1", ""},
		{[]string{"unblock", "203.0.113.7"}, 5, "", "there is no lease"},
		{[]string{"status"}, 4, "INTERFACE", "no live probe"},
		{[]string{"doctor", "--pin-path", "/"}, 1, "topic weir.commands.v1", ""},
		{[]string{"top"}, 0, "0 interfaces", ""},
		{[]string{"block", "nonsense"}, 2, "", "no address or prefix"},
	} {
		code, out, errOut := run(t, binary, env, step.args...)
		if code != step.code || !strings.Contains(out, step.out) || !strings.Contains(errOut, step.err) {
			t.Errorf("weir %s: exit %d, want %d\nstdout %q, want %q\nstderr %q, want %q", strings.Join(step.args, " "), code, step.code, out, step.out, errOut, step.err)
		}
	}
	if code, _, errOut := run(t, binary, append(env, "WEIR_KAFKA_BROKER=x"), "list"); code != 2 || !strings.Contains(errOut, "unknown environment variable WEIR_KAFKA_BROKER") {
		t.Errorf("unknown variable: exit %d, %q", code, errOut)
	}
	if code, _, errOut := run(t, binary, []string{"USER=carol"}, "list"); code != 2 || !strings.Contains(errOut, "WEIR_KAFKA_BROKERS") {
		t.Errorf("without brokers: exit %d, %q", code, errOut)
	}
}
