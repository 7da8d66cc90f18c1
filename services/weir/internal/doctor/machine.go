package doctor

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"github.com/weir-net/weir/bpf/nic"
)

// Options says what the probe of this machine is, or will be, configured with.
type Options struct {
	Interfaces []string // all that are up if empty
	PinPath    string   // directory on a bpffs
}

// kernel judges a release such as 6.12.9-amd64: 6.1 is the oldest that has all
// that the programs need, TCX came with 6.6.
func kernel(release string) Finding {
	var major, minor int
	found := ok("kernel", "Linux %s", release)
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n != 2 {
		return found.warn("this release cannot be compared with 6.1, the oldest that will do")
	}
	switch version := major*1000 + minor; {
	case version < 6001:
		return found.fail("the probe needs Linux 6.1 or later: use a newer kernel on this machine")
	case version < 6006:
		return found.warn("it has no TCX, which came with 6.6: on veth and other virtual interfaces native XDP costs bulk TCP")
	}
	return found
}

func btf(there bool) Finding {
	if there {
		return ok("BTF", "the kernel describes its types")
	}
	return ok("BTF", "/sys/kernel/btf/vmlinux is missing").fail("use a kernel with CONFIG_DEBUG_INFO_BTF, as every major distribution has")
}

// jit judges net.core.bpf_jit_enable.
func jit(value string) Finding {
	if strings.TrimSpace(value) == "0" {
		return ok("BPF compiler", "net.core.bpf_jit_enable is 0").warn("programs are interpreted, several times slower: sysctl net.core.bpf_jit_enable=1")
	}
	return ok("BPF compiler", "programs are compiled")
}

// The capabilities that the probe needs, by their bits.
var needed = []struct {
	bit  uint
	name string
}{{39, "CAP_BPF"}, {12, "CAP_NET_ADMIN"}, {38, "CAP_PERFMON"}}

// capabilities judges the effective ones of whoever asks.
func capabilities(effective uint64) Finding {
	var lacks []string
	for _, c := range needed {
		if effective>>c.bit&1 == 0 {
			lacks = append(lacks, c.name)
		}
	}
	if len(lacks) > 0 {
		return ok("capabilities", "this user lacks %s", strings.Join(lacks, ", ")).
			fail("run the probe, and this, as root or with these capabilities (deploy/systemd)")
	}
	return ok("capabilities", "CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, %d in all", bits.OnesCount64(effective))
}

// pins judges the directory where programs and maps outlive the probe: exists
// is its longest part that is there.
func pins(path, exists string, onBPFFS, writable bool) Finding {
	switch {
	case !onBPFFS:
		return ok("bpffs", "%s is not on a bpffs", path).fail("mount -t bpf bpf /sys/fs/bpf, or set WEIR_PROBE_PIN_PATH to a directory on one")
	case !writable:
		return ok("bpffs", "this user cannot write to %s", exists).fail("let the probe's user own a directory on a bpffs, and set WEIR_PROBE_PIN_PATH to it")
	case exists == path:
		return ok("bpffs", "%s holds what a probe has pinned", path)
	}
	return ok("bpffs", "%s can be made", path)
}

// systemClock judges what the kernel knows of its own clock.
func systemClock(synchronised bool) Finding {
	if synchronised {
		return ok("clock", "synchronised")
	}
	return ok("clock", "nothing keeps it right").warn("run an NTP client (systemd-timesyncd, chrony): rates and leases of many hosts are compared by time")
}

// interfaces judges those that a probe watches, or all that are up. pinned says
// that a probe has pinned something: a program that is attached may be its own.
func interfaces(all []nic.Interface, wanted []string, pinned bool) []Finding {
	var out []Finding
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(n nic.Interface) bool { return n.Name == name }) {
			out = append(out, ok("interface "+name, "there is none of this name").warn("check WEIR_PROBE_INTERFACES; the probe attaches to it when it appears"))
		}
	}
	for _, n := range all {
		if len(wanted) == 0 && (!n.Up || n.Loopback) || len(wanted) > 0 && !slices.Contains(wanted, n.Name) {
			continue
		}
		out = append(out, oneInterface(n, pinned))
	}
	if len(out) == 0 {
		out = append(out, ok("interface", "none is up").warn("name those to look at: weir doctor --interface eth0"))
	}
	return out
}

func oneInterface(n nic.Interface, pinned bool) Finding {
	mode := "native"
	if n.Virtual() || !n.Ethernet {
		mode = "tcx"
	}
	found := ok("interface "+n.Name, "%s, MTU %d, %s, mode auto tries %s", n.What(), n.MTU, plural(n.Queues, "queue"), mode)
	suspects := n.Suspects()
	switch {
	case n.XDPProgram != 0 && !pinned:
		found.Found += fmt.Sprintf(", XDP program %d", n.XDPProgram)
		return found.fail("the probe never replaces a program of others: take it off (ip link set %s xdp off), or set WEIR_PROBE_XDP_MODE=tcx", n.Name)
	case suspects != "":
		return found.warn("the driver may refuse native XDP: %s", suspects)
	case !n.Up:
		return found.warn("it is down: ip link set %s up", n.Name)
	case n.XDPProgram != 0:
		found.Found += ", XDP program attached"
	}
	return found
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
