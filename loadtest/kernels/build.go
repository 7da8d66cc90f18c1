package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// modules are what the interfaces of the tests and of the trial need, and netlink,
// each after what it needs itself. Some kernels have some of them built in.
func modules() []string {
	return []string{
		"failover", "net_failover", "virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev",
		"virtio_pci", "virtio_net", "e1000", "veth", "tun", "nfnetlink", "xfrm_algo", "xfrm_user",
	}
}

// fetch downloads a kernel and unpacks it, unless that was done before.
func fetch(ctx context.Context, t target, dir string) error {
	cmd := exec.CommandContext(ctx, "loadtest/kernels/fetch.sh", append([]string{t.release, t.meta, dir}, modules()...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("fetching kernel %s: %w", t.name, err)
	}
	return nil
}

// buildPrograms makes xdp.test and guest, static, in dir.
func buildPrograms(ctx context.Context, dir string) error {
	for _, p := range []struct {
		module string
		args   []string
	}{
		{"bpf", []string{"test", "-c", "-o", filepath.Join(dir, "xdp.test"), "./xdp"}},
		{"loadtest", []string{"build", "-o", filepath.Join(dir, "guest"), "./kernels/guest"}},
	} {
		cmd := exec.CommandContext(ctx, "go", p.args...)
		cmd.Dir = p.module
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w\n%s", p.args[len(p.args)-1], err, out)
		}
	}
	return nil
}

// writeImage makes the file system that a virtual machine starts from: its first
// process, the tests, and the modules in the order in which to load them.
func writeImage(path, kernel, programs string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("making the image: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	image := archive{out: f}
	for _, d := range []string{"proc", "sys", "dev", "tmp", "modules"} {
		image.directory(d)
	}
	// The kernel opens it for its first process, before devtmpfs is mounted.
	image.console("dev/console")
	for from, to := range map[string]string{"guest": "init", "xdp.test": "xdp.test"} {
		image.file(filepath.Join(programs, from), to)
	}
	for i, name := range modules() {
		files, err := filepath.Glob(filepath.Join(kernel, "modules", name+".ko*"))
		if err != nil {
			return fmt.Errorf("listing modules: %w", err)
		}
		for _, file := range files {
			image.file(file, fmt.Sprintf("modules/%02d-%s", i, filepath.Base(file)))
		}
	}
	return image.end()
}
