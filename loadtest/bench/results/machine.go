package results

import (
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is where and of what a report is.
type Machine struct {
	CPU         string    `json:"cpu"`
	CPUs        int       `json:"cpus"`
	MemoryMiB   uint64    `json:"memory_mib"`
	Kernel      string    `json:"kernel"`
	Returns     string    `json:"speculative_return_mitigation"` // it sets the price of a helper call
	JIT         bool      `json:"jit"`
	Load        string    `json:"load_average"` // before the first experiment
	Commit      string    `json:"commit"`
	Go          string    `json:"go"`
	Date        time.Time `json:"date"`
	Trials      int       `json:"trials"`
	TrialMillis int64     `json:"trial_ms"`
}

// ThisMachine looks around.
func ThisMachine() Machine {
	m := Machine{CPUs: runtime.NumCPU(), Go: runtime.Version(), Date: time.Now().UTC().Truncate(time.Second)}
	m.CPU = processor(text("/proc/cpuinfo"))
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		m.MemoryMiB = info.Totalram * uint64(info.Unit) >> 20
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		m.Kernel = unix.ByteSliceToString(uts.Release[:]) + " " + unix.ByteSliceToString(uts.Machine[:])
	}
	m.Returns = text("/sys/devices/system/cpu/vulnerabilities/spec_rstack_overflow")
	m.JIT = text("/proc/sys/net/core/bpf_jit_enable") != "0"
	if fields := strings.Fields(text("/proc/loadavg")); len(fields) > 2 {
		m.Load = strings.Join(fields[:3], " ")
	}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
	}
	return m
}

// processor names the first CPU of /proc/cpuinfo: a virtual machine's "model name" is often
// that of several generations, which differ by a factor of two.
func processor(cpuinfo string) string {
	first, _, _ := strings.Cut(cpuinfo, "\n\n")
	of := make(map[string]string)
	for line := range strings.Lines(first) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			of[strings.TrimSpace(name)] = strings.TrimSpace(value)
		}
	}
	var more []string
	for _, name := range []string{"cpu family", "model", "cache size"} {
		if of[name] != "" {
			more = append(more, strings.TrimPrefix(name, "cpu ")+" "+of[name])
		}
	}
	if len(more) == 0 {
		return of["model name"]
	}
	return of["model name"] + " (" + strings.Join(more, ", ") + ")"
}

// text is a file's content, or nothing: what a machine does not tell is left out.
func text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
