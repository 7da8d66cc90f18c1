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
	"syscall"
	"time"
)

// boot starts a virtual machine, reads its console until it powers off, and keeps
// a copy of it in log.
func boot(ctx context.Context, o *outcome, kernel, image, log string) error {
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
		"-append", "console=ttyS0 quiet panic=-1 oops=panic")
	var said bytes.Buffer // that the wire leads nowhere, among other things
	cmd.Stderr = &said
	o.started = time.Now()
	if err := o.watch(cmd, keep); err != nil {
		return fmt.Errorf("%w\n%s", err, said.Bytes())
	}
	return nil
}

// runHere runs on the running kernel what a virtual machine's first process does.
func runHere(ctx context.Context, o *outcome, programs string) error {
	o.started = time.Now()
	var failed error
	for _, p := range []struct {
		name string
		args []string
		flag uintptr
	}{
		{"xdp.test", []string{"-test.v", "-test.timeout", "10m"}, 0},
		{"guest", []string{"trial"}, syscall.CLONE_NEWNET}, // interfaces of its own, gone with it
	} {
		cmd := exec.CommandContext(ctx, filepath.Join(programs, p.name), p.args...)
		cmd.Dir = programs
		cmd.Env = append(cmd.Environ(), "CI=true")
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: p.flag}
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
