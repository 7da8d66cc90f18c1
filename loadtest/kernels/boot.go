package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// boot starts a virtual machine, reads its console until it powers off, and keeps
// a copy of it in log.
func boot(ctx context.Context, o *outcome, kernel, image, log string) error {
	// A new file: the old one may belong to a run that is going on.
	if err := os.Remove(log); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the console's old log: %w", err)
	}
	keep, err := os.Create(log)
	if err != nil {
		return fmt.Errorf("making the console's log: %w", err)
	}
	defer keep.Close()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-cpu", "max", "-m", "2G", "-smp", "2", "-accel", "tcg",
		"-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
		// Two network cards on one wire that leads nowhere else.
		"-netdev", "hubport,id=a,hubid=0", "-device", "virtio-net-pci,netdev=a",
		"-netdev", "hubport,id=b,hubid=0", "-device", "e1000,netdev=b",
		"-kernel", kernel, "-initrd", image,
		"-append", "console=ttyS0 quiet panic=-1 oops=panic weir.run="+o.tests)
	var said bytes.Buffer // that the wire leads nowhere, among other things
	cmd.Stderr = &said
	o.started = time.Now()
	if err := o.watch(cmd, keep); err != nil {
		return fmt.Errorf("%w\n%s", err, said.Bytes())
	}
	return nil
}

type program struct {
	name       string
	args       []string
	namespaces uintptr // to make for it
}

// runHere runs on the running kernel what a virtual machine's first process does.
func runHere(ctx context.Context, o *outcome, dir string) error {
	o.started = time.Now()
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return fmt.Errorf("asking for the kernel's release: %w", err)
	}
	o.kernel = strings.TrimSpace(string(release))
	var failed error
	programs := []program{{"xdp.test", []string{"-test.v", "-test.timeout", "10m", "-test.run", o.tests}, 0}}
	if o.tests == "" { // with interfaces of its own, gone with it
		programs = append(programs, program{"guest", []string{"trial"}, syscall.CLONE_NEWNET})
	}
	for _, p := range programs {
		cmd := exec.CommandContext(ctx, filepath.Join(dir, p.name), p.args...)
		cmd.Dir = dir
		cmd.Env = append(cmd.Environ(), "CI=true")
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: p.namespaces}
		failed = errors.Join(failed, o.watch(cmd, io.Discard))
	}
	o.done = failed == nil
	return failed
}

// watch runs cmd and reads what it prints.
func (o *outcome) watch(cmd *exec.Cmd, log io.Writer) error {
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("starting %s: %w", filepath.Base(cmd.Path), err)
	}
	readErr := o.read(io.TeeReader(out, log))
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("running %s: %w", filepath.Base(cmd.Path), err)
	}
	return readErr
}
