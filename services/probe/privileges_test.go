package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/services/probe/internal/privileges"
)

const nobody = 65534

// TestPrivileges runs the probe as root and as a user who has nothing but the
// three capabilities, in a network namespace of its own and without a broker.
// Both must end up with these three on every thread, and with them attach to an
// interface that appears only then, and take everything up again after a kill.
func TestPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("becoming another user needs root")
		}
		t.Skip("becoming another user needs root")
	}
	binary := buildForAll(t)
	for _, c := range []struct {
		name string
		attr syscall.SysProcAttr
	}{
		{"root", syscall.SysProcAttr{}},
		{"user", syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			runtime.LockOSThread() // never unlocked: the namespace ends with the thread
			ns, err := netns.New()
			if err != nil {
				t.Fatal(err)
			}
			defer ns.Close()
			pins := filepath.Join("/sys/fs/bpf", fmt.Sprintf("weir-test-%s-%d", c.name, os.Getpid()))
			if err := os.Mkdir(pins, 0o700); err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(pins)
			if c.attr.Credential != nil {
				if err := os.Chown(pins, nobody, nobody); err != nil {
					t.Fatal(err)
				}
			}
			p := &process{t: t, binary: binary, attr: c.attr, pins: pins}
			p.start()
			p.waitFor("the loopback to be attached", func() bool { return exists(pins, "link-0") })
			effective := fmt.Sprintf("CapEff:\t%016x\n", uint64(privileges.Needed))
			p.waitFor("capabilities to be dropped", func() bool {
				return strings.Contains(p.status(), effective) && strings.Contains(p.status(), "NoNewPrivs:\t1")
			})
			p.checkCapabilities(c.attr.Credential == nil)
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "late"}, PeerName: "peer"}
			if err := netlink.LinkAdd(veth); err != nil {
				t.Fatal(err)
			}
			p.waitFor("an interface that appeared to be attached", func() bool { return exists(pins, "link-1") })
			p.kill()
			p.start()
			p.waitFor("the interfaces to be taken up", func() bool { return strings.Count(p.said(), "adopted from an earlier run") == 2 })
			p.kill()
			resized := p.command()
			resized.Env = append(resized.Env, "WEIR_PROBE_MAX_LEASES=1000")
			if out, err := resized.CombinedOutput(); err == nil || !strings.Contains(string(out), "weir-probe -remove") {
				t.Errorf("starting with another size: %v, want to be told about -remove\n%s", err, out)
			}
			// Nobody should have to know the sizes to be rid of them.
			remove := p.command("-remove")
			remove.Env = append(remove.Env, "WEIR_PROBE_MAX_LEASES=1000")
			if out, err := remove.CombinedOutput(); err != nil {
				t.Errorf("removing: %v\n%s", err, out)
			}
			if exists(pins, "link-0") || exists(pins, "control_page") {
				t.Error("something is still pinned")
			}
		})
	}
}

// TestWithoutPrivileges starts it as a user who has none, on a bpffs that is not
// his, and where there is no bpffs: it says what it takes.
func TestWithoutPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("becoming another user needs root; TestPrivileges fails without it in CI")
	}
	binary := buildForAll(t)
	pins := filepath.Join("/sys/fs/bpf", fmt.Sprintf("weir-test-none-%d", os.Getpid()))
	if err := os.Mkdir(pins, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(pins)
	if err := os.Chown(pins, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, pins, want string }{
		{"no capability", pins, "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"},
		{"no bpffs", "/proc/weir", "mount -t bpf bpf /sys/fs/bpf"},
	} {
		p := &process{t: t, binary: binary, pins: c.pins, attr: syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}}
		if out, err := p.command().CombinedOutput(); err == nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: %v, want to be told of %q:\n%s", c.name, err, c.want, out)
		}
	}
}

// buildForAll builds the probe as it is released, where any user can run it.
func buildForAll(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "weir-probe-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "weir-probe")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// process is a running probe.
type process struct {
	t      *testing.T
	binary string
	attr   syscall.SysProcAttr
	pins   string
	cmd    *exec.Cmd
	log    string // file
}

func (p *process) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(p.t.Context(), p.binary, args...)
	attr := p.attr
	cmd.SysProcAttr = &attr
	cmd.Env = []string{"WEIR_KAFKA_BROKERS=127.0.0.1:1", "WEIR_PROBE_HOST=test", "WEIR_PROBE_INTERFACES=lo,late",
		"WEIR_PROBE_HTTP_ADDRESS=off", "WEIR_PROBE_SOURCE_WAYS=1024", "WEIR_PROBE_PIN_PATH=" + p.pins}
	return cmd
}

func (p *process) start() {
	p.t.Helper()
	p.cmd = p.command()
	p.log = filepath.Join(p.t.TempDir(), "log")
	log, err := os.Create(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr = log
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(p.kill)
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// said is what the process has logged since its start.
func (p *process) said() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

func (p *process) status() string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatalf("the probe has ended: %v\n%s", err, p.said())
	}
	return string(b)
}

func (p *process) waitFor(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain for %s\n%s", what, p.said())
		}
	}
}

// checkCapabilities reads what each thread may do. The bounding set is only
// root's to shrink.
func (p *process) checkCapabilities(bounding bool) {
	p.t.Helper()
	sets := []string{"CapPrm", "CapEff"}
	if bounding {
		sets = append(sets, "CapBnd")
	}
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", p.cmd.Process.Pid))
	if err != nil || len(threads) < 2 {
		p.t.Fatalf("%d threads, %v", len(threads), err)
	}
	for _, thread := range threads {
		status, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		for _, set := range sets {
			want := fmt.Sprintf("%s:\t%016x\n", set, uint64(privileges.Needed))
			if !strings.Contains(string(status), want) {
				p.t.Errorf("%s: want %s in\n%s", thread, want, status)
			}
		}
	}
}
