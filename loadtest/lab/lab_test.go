package lab_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weir-net/weir/loadtest/lab"
)

// needRoot skips on a laptop without root and fails in CI.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("CI") != "" {
		t.Fatal("needs root")
	}
	t.Skip("needs root")
}

func build(t *testing.T, c lab.Config) *lab.Lab {
	t.Helper()
	needRoot(t)
	l, err := lab.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// connect opens a TCP connection from an address of the clients to the victim.
func connect(l *lab.Lab, from, to netip.Addr) error {
	var listener net.Listener
	err := l.Do(lab.Victim, func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(to, 0).String())
		return err
	})
	if err != nil {
		return err
	}
	defer listener.Close()
	return l.Do(lab.Clients, func() error {
		d := net.Dialer{Timeout: 2 * time.Second, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
		c, err := d.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		return c.Close()
	})
}

func TestEveryRemoteAddressReachesTheVictim(t *testing.T) {
	l := build(t, lab.Config{ID: "tlab"})
	for _, p := range []netip.Prefix{lab.OrdinarySources, lab.HTTPAttackers, lab.UDPAttackers} {
		if err := connect(l, p.Addr().Next(), lab.VictimAddress); err != nil {
			t.Errorf("from %s: %v", p, err)
		}
	}
	for _, p := range []netip.Prefix{lab.OrdinarySources6, lab.Attackers6} {
		if err := connect(l, p.Addr().Next(), lab.VictimAddress6); err != nil {
			t.Errorf("from %s: %v", p, err)
		}
	}
}

func TestTheVictimReachesTheBrokerAndNothingElse(t *testing.T) {
	l := build(t, lab.Config{ID: "tmgmt"})
	listener, err := net.Listen("tcp", netip.AddrPortFrom(l.BrokerAddress(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// What must succeed may take as long as a busy machine does.
	dial := func(ns lab.Namespace, address string, within time.Duration) error {
		return l.Do(ns, func() error {
			c, err := net.DialTimeout("tcp", address, within)
			if err != nil {
				return err
			}
			return c.Close()
		})
	}
	if err := dial(lab.Victim, listener.Addr().String(), 10*time.Second); err != nil {
		t.Errorf("the victim's namespace cannot reach the broker: %v", err)
	}
	if err := dial(lab.Clients, listener.Addr().String(), 300*time.Millisecond); err == nil {
		t.Error("the clients' namespace reaches the broker")
	}
	for _, ns := range []lab.Namespace{lab.Victim, lab.Clients} {
		if err := dial(ns, "192.0.0.1:80", 300*time.Millisecond); err == nil {
			t.Errorf("%s reaches an address outside the lab", ns)
		}
	}
}

func TestGeneratorsKnowWhetherTheyAreInALab(t *testing.T) {
	l := build(t, lab.Config{ID: "tguard"})
	if err := lab.InLab(); err == nil {
		t.Error("the machine's own namespace passes for a lab's")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Start(lab.Command{
		Name: "guard", Namespace: lab.Clients, Path: exe,
		Args: []string{"-test.run=^TestInsideALab$"}, Env: []string{"WEIR_TEST_INSIDE_LAB=1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("a process of the clients' namespace does not know its lab: %v", err)
	}
}

// TestInsideALab is what TestGeneratorsKnowWhetherTheyAreInALab runs there.
func TestInsideALab(t *testing.T) {
	if os.Getenv("WEIR_TEST_INSIDE_LAB") == "" {
		return
	}
	if err := lab.InLab(); err != nil {
		t.Fatal(err)
	}
}

func left(id string) []string {
	var out []string
	for _, pattern := range []string{"/run/netns/weir-" + id + "-*", "/sys/class/net/weir-m-" + id, "/run/weir-lab/" + id + ".*"} {
		found, _ := filepath.Glob(pattern)
		out = append(out, found...)
	}
	return out
}

func TestCloseLeavesNothing(t *testing.T) {
	needRoot(t)
	l, err := lab.New(lab.Config{ID: "tclose"})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := l.TempDir()
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Start(lab.Command{Name: "sleep", Namespace: lab.Victim, Path: "/bin/sleep", Args: []string{"60"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(left("tclose")) == 0 {
		t.Fatal("the check for leftovers sees nothing of a lab that is there")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if found := left("tclose"); len(found) > 0 {
		t.Errorf("left: %v", found)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory %s is left: %v", dir, err)
	}
	select {
	case <-p.Done():
	case <-time.After(time.Second):
		t.Error("a process is left")
	}
}

// TestRemoveAfterKill builds a lab in a process that is then killed.
func TestRemoveAfterKill(t *testing.T) {
	needRoot(t)
	if os.Getenv("WEIR_TEST_BUILD_AND_HANG") != "" {
		l, err := lab.New(lab.Config{ID: "tkill", Keep: true})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Start(lab.Command{Name: "sleep", Namespace: lab.Clients, Path: "/bin/sleep", Args: []string{"61"}}); err != nil {
			t.Fatal(err)
		}
		os.Stdout.WriteString("built\n")
		select {}
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestRemoveAfterKill$")
	cmd.Env = append(os.Environ(), "WEIR_TEST_BUILD_AND_HANG=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	n, err := out.Read(buffer)
	if err != nil || !strings.HasPrefix(string(buffer[:n]), "built") {
		t.Fatalf("the lab's process said %q, %v", buffer[:n], err)
	}
	if _, err := lab.New(lab.Config{ID: "tkill"}); !errors.Is(err, lab.ErrBusy) {
		t.Errorf("a second lab of the same id: %v, want ErrBusy", err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if len(left("tkill")) == 0 {
		t.Fatal("nothing is left of the killed lab, so this test shows nothing")
	}
	if err := lab.Remove("tkill"); err != nil {
		t.Fatal(err)
	}
	if found := left("tkill"); len(found) > 0 {
		t.Errorf("left after the removal: %v", found)
	}
}

// TestProcessesStartInTheirNamespace enters and leaves namespaces from many
// goroutines, sooner or later on the process's first thread too, and then
// starts a process outside of them.
func TestProcessesStartInTheirNamespace(t *testing.T) {
	first := build(t, lab.Config{ID: "tspawn1"})
	own, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var entering sync.WaitGroup
	for range 200 {
		for _, ns := range []lab.Namespace{lab.Victim, lab.Clients} {
			entering.Go(func() { _ = first.Do(ns, func() error { return nil }) })
		}
	}
	entering.Wait()
	l := build(t, lab.Config{ID: "tspawn2"})
	var out strings.Builder
	p, err := l.Start(lab.Command{Name: "readlink", Path: "/bin/readlink", Args: []string{"/proc/self/ns/net"}, Stdout: &out})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != own {
		t.Errorf("a process of the root namespace runs in %s, want %s", got, own)
	}
}
