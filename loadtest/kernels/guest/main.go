// Command guest is what test-kernels runs on a kernel.
//
// As the first process of a virtual machine it mounts what BPF needs, loads the
// modules that lie in /modules, runs the tests of the data plane and the trial of
// attach modes, and powers the machine off. Everything it says goes to the console,
// where test-kernels reads it. Called as "guest trial", in a network namespace
// without anything else, it is only that trial.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "trial" {
		if err := trial(); err != nil {
			fmt.Println("trial:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "this is the first process of a virtual machine; on a running kernel: guest trial")
		os.Exit(2)
	}
	err := inside()
	if err != nil {
		fmt.Println("guest:", err)
	}
	fmt.Printf("GUEST done ok=%v\n", err == nil)
	powerOff()
}

// inside does everything between boot and power-off.
func inside() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"},
		{"sysfs", "/sys"},
		{"devtmpfs", "/dev"},
		{"tmpfs", "/tmp"},
		{"bpf", "/sys/fs/bpf"},
	} {
		if err := os.MkdirAll(m.at, 0o755); err != nil {
			return fmt.Errorf("making a mount point: %w", err)
		}
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mounting %s: %w", m.at, err)
		}
	}
	fmt.Println("GUEST up", release())
	if err := loadModules("/modules"); err != nil {
		return err
	}
	tests, err := asked()
	if err != nil {
		return err
	}
	err = run("/xdp.test", "-test.v", "-test.timeout", "40m", "-test.run", tests)
	if tests != "" {
		return err
	}
	return errors.Join(err, run("/proc/self/exe", "trial"))
}

// asked returns which tests to run: all, if empty.
func asked() (string, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", fmt.Errorf("reading the kernel's command line: %w", err)
	}
	for _, word := range strings.Fields(string(line)) {
		if tests, ok := strings.CutPrefix(word, "weir.run="); ok {
			return tests, nil
		}
	}
	return "", nil
}

func run(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout
	cmd.Env = []string{"CI=true", "TMPDIR=/tmp"}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("running %s: %w", name, err)
	}
	return nil
}

// loadModules loads what lies in dir in the order of the names, which begin with a
// number: whoever packed them knows what needs what.
func loadModules(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return fmt.Errorf("listing modules: %w", err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("opening a module: %w", err)
		}
		flags := 0
		if !strings.HasSuffix(name, ".ko") {
			flags = unix.MODULE_INIT_COMPRESSED_FILE
		}
		err = unix.FinitModule(int(f.Fd()), "", flags)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("loading module %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown release"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func powerOff() {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("guest: powering off:", err)
	}
	select {} // the first process must not end
}
