package doctor

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/bpf/nic"
)

// Machine looks at what the probe needs of this machine.
func Machine(o Options) []Finding {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return []Finding{ok("kernel", "%v", err).fail("this should not happen on Linux")}
	}
	out := []Finding{kernel(unix.ByteSliceToString(name.Release[:]))}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	out = append(out, btf(err == nil))
	if value, err := os.ReadFile("/proc/sys/net/core/bpf_jit_enable"); err == nil {
		out = append(out, jit(string(value)))
	}
	exists := existing(o.PinPath)
	var fs unix.Statfs_t
	err = unix.Statfs(exists, &fs)
	out = append(out, capabilities(effectiveCapabilities()),
		pins(filepath.Clean(o.PinPath), exists, err == nil && fs.Type == unix.BPF_FS_MAGIC, unix.Access(exists, unix.W_OK) == nil))
	var clock unix.Timex
	if state, err := unix.Adjtimex(&clock); err == nil {
		out = append(out, systemClock(state != unix.TIME_ERROR && clock.Status&unix.STA_UNSYNC == 0))
	}
	all, err := nic.List()
	if err != nil {
		return append(out, ok("interfaces", "%v", err).fail("reading interfaces takes a netlink socket, which something denies here"))
	}
	links, _ := filepath.Glob(filepath.Join(o.PinPath, "link-*")) //nolint:errcheck // the pattern is well formed
	return append(out, interfaces(all, o.Interfaces, len(links) > 0)...)
}

// existing returns the longest part of path that is there.
func existing(path string) string {
	path = filepath.Clean(path)
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

func effectiveCapabilities() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return 0
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
}
