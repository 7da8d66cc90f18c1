package main

import (
	"errors"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// feature is something that Weir uses or could use.
type feature struct {
	Name   string `json:"name"`
	Needed bool   `json:"needed"` // nothing works without it
	Have   bool   `json:"have"`
	Error  string `json:"error,omitempty"`
}

func supported() []feature {
	_, btf := os.Stat("/sys/kernel/btf/vmlinux")
	all := []struct {
		name   string
		needed bool
		err    error
	}{
		{"BTF", false, btf},
		{"bpf_loop", true, features.HaveProgramHelper(ebpf.XDP, asm.FnLoop)},
		{"bpf_ktime_get_boot_ns", true, features.HaveProgramHelper(ebpf.XDP, asm.FnKtimeGetBootNs)},
		{"membarrier", false, membarrier()},
		{"arena", false, features.HaveMapType(ebpf.Arena)},
	}
	list := make([]feature, 0, len(all))
	for _, f := range all {
		x := feature{Name: f.name, Needed: f.needed, Have: f.err == nil}
		if f.err != nil && !errors.Is(f.err, ebpf.ErrNotSupported) && !errors.Is(f.err, os.ErrNotExist) {
			x.Error = f.err.Error()
		}
		list = append(list, x)
	}
	return list
}

// membarrier is how a drain waits where its thread may not visit every CPU; without
// it, it sleeps.
func membarrier() error {
	const global = 1
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, global, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
