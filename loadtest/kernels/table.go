package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// tables shows all kernels: what ran, and what works on which interface.
func tables(all []*outcome) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "kernel\tversion\tboot\ttests\tpassed\tfailed\tskipped\ttakeover\tmissing")
	for _, o := range all {
		boot := "-"
		if o.release != "" {
			boot = fmt.Sprintf("%.1f s", o.boot.Seconds())
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f s\t%d\t%d\t%d\t%s\t%s\n", o.name, o.kernel, boot, o.took.Seconds(),
			o.passed, len(o.failed), len(o.skipped)+o.excused, yesNo(o.takeover), o.missing())
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "attached to\tasked for\t"+strings.Join(names(all), "\t"))
	for _, row := range rows(all) {
		fmt.Fprintf(w, "%s\t%s", row.device, row.mode)
		for _, o := range all {
			fmt.Fprint(w, "\t", o.attached(row))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // into memory
	return b.String()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func names(all []*outcome) (n []string) {
	for _, o := range all {
		n = append(n, o.name)
	}
	return n
}

func (o *outcome) missing() string {
	var names []string
	for _, f := range o.features {
		if !f.Have {
			names = append(names, f.Name)
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

type row struct{ device, mode string }

// rows are the interfaces and modes of all kernels, in the order of the first.
func rows(all []*outcome) (list []row) {
	for _, o := range all {
		for _, a := range o.attaches {
			if r := (row{a.Device, a.Mode}); !slices.Contains(list, r) {
				list = append(list, r)
			}
		}
	}
	return list
}

// attached says what a kernel made of an interface and a mode.
func (o *outcome) attached(r row) string {
	for _, a := range o.attaches {
		switch {
		case r != row{a.Device, a.Mode}:
		case a.Error != "" && a.Expected:
			return "FAILED"
		case a.Error != "":
			return "refused"
		default:
			return a.Got
		}
	}
	return "-"
}

// record writes the results page.
func record(ctx context.Context, path, table string) error {
	commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output()
	if err != nil {
		return fmt.Errorf("asking for the commit: %w", err)
	}
	page := fmt.Sprintf(`# Kernels

Every test of the data plane, and every attach mode on every kind of interface with
real frames (50 of a blocked source, 50 of another; each counted once, the first 50
dropped), by `+"`make test-kernels`"+`. Debian's kernels run in qemu without hardware support, two
emulated processors and 2 GB, so the times say nothing of Weir's speed. "Takeover" is a
second process that takes up interface, lease and counters of the first from its pins.
A test may be skipped only for want of TCX, before 6.6. "Missing" is what the kernel lacks of what Weir uses or might use. Machine: %s,
commit %s, %s.

`+"```\n%s```\n", machine(), bytes.TrimSpace(commit), time.Now().UTC().Format(time.DateOnly), table)
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil {
		return fmt.Errorf("recording the results: %w", err)
	}
	return nil
}

// machine names the processor.
func machine() string {
	f, err := os.Open("/proc/cpuinfo")
	if err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "model name"); ok {
				return fmt.Sprintf("%d × %s", runtime.NumCPU(), strings.TrimLeft(name, "\t: "))
			}
		}
	}
	return fmt.Sprintf("%d processors", runtime.NumCPU())
}
