package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
)

// program is a running loadtest whose standard output can be waited for.
type program struct {
	cmd   *exec.Cmd
	lines chan string
}

func runProgram(t *testing.T, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(filepath.Join(bin(t), "loadtest"), args...), lines: make(chan string, 1000)}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
		_, _ = io.Copy(io.Discard, out)
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// say waits for a line that contains text, and returns it.
func (p *program) say(t *testing.T, text string, limit time.Duration) string {
	t.Helper()
	for timeout := time.After(limit); ; {
		select {
		case line, ok := <-p.lines:
			if !ok {
				t.Fatalf("it ended before it said %q: %v", text, p.cmd.Wait())
			}
			if strings.Contains(line, text) {
				return line
			}
		case <-timeout:
			t.Fatalf("it did not say %q within %v", text, limit)
		}
	}
}

// end sends a signal and waits.
func (p *program) end(t *testing.T, signal os.Signal) error {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for range p.lines {
			continue
		}
		ended <- p.cmd.Wait()
	}()
	select {
	case err := <-ended:
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not end by %v", signal)
		return nil
	}
}

// remains lists what is left of a lab.
func remains(id string) []string {
	var out []string
	for _, pattern := range []string{
		"/run/netns/weir-" + id + "-*", "/sys/class/net/weir-m-" + id, "/run/weir-lab/" + id + ".json", "/sys/fs/bpf/weir-" + id,
		filepath.Join(os.TempDir(), "weir-"+id+"-*"),
	} {
		found, _ := filepath.Glob(pattern)
		out = append(out, found...)
	}
	return append(out, processesOf(id)...)
}

// processesOf finds processes whose environment or arguments name the lab.
func processesOf(id string) []string {
	var out []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		if strings.Contains(string(env), "WEIR_PROBE_PIN_PATH=/sys/fs/bpf/weir-"+id+"\x00") || strings.Contains(string(args), "/weir-"+id+"-") {
			out = append(out, dir)
		}
	}
	return out
}

// TestDemoCleansUp interrupts one demo, kills another, and looks for what is
// left of them.
func TestDemoCleansUp(t *testing.T) {
	id := labID(t)
	p := runProgram(t, "demo", "-id", id, "-bin", bin(t))
	p.say(t, "ordinary clients only", 30*time.Second)
	if len(remains(id)) < 4 {
		t.Fatalf("the search for leftovers finds only %v of a demo that runs", remains(id))
	}
	var exit *exec.ExitError
	if err := p.end(t, os.Interrupt); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("interrupted, it ends with %v, want exit code 1", err)
	}
	if left := remains(id); len(left) > 0 {
		t.Errorf("left after an interrupt: %v", left)
	}

	p = runProgram(t, "demo", "-id", id, "-bin", bin(t))
	p.say(t, "ordinary clients only", 30*time.Second)
	_ = p.end(t, syscall.SIGKILL)
	eventually(t, 5*time.Second, "its processes die with it", func() error {
		if left := processesOf(id); len(left) > 0 {
			return fmt.Errorf("%v live", left)
		}
		return nil
	})
	if len(remains(id)) == 0 {
		t.Fatal("nothing is left of a killed demo, so this test shows nothing")
	}
	// The next lab, of whatever name, takes it down.
	next, err := lab.New(lab.Config{ID: labID(t)})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	if left := remains(id); len(left) > 0 {
		t.Errorf("left after the next lab: %v", left)
	}
}

// TestRun runs everything on an interface of this machine (the root end of a
// lab's management link), as on a real one.
func TestRun(t *testing.T) {
	bin(t)
	l, err := lab.New(lab.Config{ID: labID(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	id := labID(t)
	p := runProgram(t, "run", "-id", id, "-iface", "weir-m-"+l.ID(), "-bin", bin(t))
	p.say(t, "drops nothing", 30*time.Second)
	p.say(t, "export WEIR_KAFKA_BROKERS=", time.Second)
	if left := remains(id); len(left) == 0 {
		t.Error("nothing runs")
	}
	if err := p.end(t, os.Interrupt); err != nil {
		t.Errorf("interrupted, it ends with %v", err)
	}
	if left := remains(id); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
