//go:build load

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// report writes what was measured into the file that WEIR_RESULTS names, with
// machine, kernel and commit, and into the test's log. busy is the load average
// before the measurement.
func report(t *testing.T, busy float64, measured string) {
	t.Helper()
	t.Log("\n" + measured)
	path := os.Getenv("WEIR_RESULTS")
	if path == "" {
		return
	}
	quiet := "The machine was quiet"
	if busy >= 0.5 {
		quiet = "The machine was NOT quiet"
	}
	text := fmt.Sprintf(`# Load of the page

1,000 interfaces of 50 sources each at 4 updates a second for 20 s, by `+"`make bench-ring`"+`:
the service as a process of its own, a double of a broker, the writer of the records and
a headless Chromium without a GPU beside it on the same machine. Goals: at least 30
frames a second in the page, less than 20 %% of a core in the service.

%s

%s: load average %.2f over the minute before, everything at nice %d.

`+"```\n%s```\n", machine(t), quiet, busy, niceness(t), measured)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// machine says on what it was measured.
func machine(t *testing.T) string {
	t.Helper()
	model, cpus := "unknown", 0
	for line := range strings.Lines(contents(t, "/proc/cpuinfo")) {
		if v, ok := strings.CutPrefix(line, "model name"); ok {
			model = strings.TrimSpace(strings.TrimLeft(v, "\t :"))
			cpus++
		}
	}
	commit, err := exec.Command("git", "describe", "--always", "--dirty").Output()
	if err != nil {
		commit = []byte("unknown")
	}
	return fmt.Sprintf("%d vCPU %s, Linux %s, commit %s, %s.", cpus, model, strings.TrimSpace(contents(t, "/proc/sys/kernel/osrelease")),
		strings.TrimSpace(string(commit)), time.Now().Format(time.DateOnly))
}

// niceness is the own one, which all that is started here inherits.
func niceness(t *testing.T) int {
	t.Helper()
	stat := contents(t, "/proc/self/stat")
	n, err := strconv.Atoi(strings.Fields(stat[strings.LastIndexByte(stat, ')')+2:])[16])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// loadAverage is that of the last minute.
func loadAverage(t *testing.T) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(strings.Fields(contents(t, "/proc/loadavg"))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func contents(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
