// Command kernels runs the tests of the data plane on the kernels that Weir is
// meant for: those of Debian's releases, in virtual machines without hardware
// support, and the one that is running.
//
//	kernels [-only 6.1,running] [-run REGEXP] [-cache DIRECTORY] [-results FILE]
//
// Each virtual machine boots a kernel as Debian ships it, with a file system that
// holds two static programs: the tests of bpf/xdp, and guest, which runs them and
// then tries every attach mode on every kind of interface. A kernel that does not
// load the program, a test that fails or is skipped, and an attach mode that ought
// to work and does not make the command fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// target is a kernel to test: of a Debian release, or the running one.
type target struct {
	name, release, meta string
}

// targets are the oldest kernel that is supported, the present stable one, and the
// one with PREEMPT_RT, where softirqs are threads and locks sleep.
func targets() []target {
	return []target{
		{"6.1", "bookworm", "linux-image-amd64"},
		{"6.12", "trixie", "linux-image-amd64"},
		{"6.12-rt", "trixie", "linux-image-rt-amd64"},
		{"running", "", ""},
	}
}

// bootLimit is how long one virtual machine may take from power-on to power-off.
// Emulated, loading a program takes as many seconds as it takes tenths of one on the
// processor itself, and the tests load some fifty; a busy machine takes its part.
const bootLimit = 45 * time.Minute

func main() {
	only := flag.String("only", "", "names of kernels, separated by commas; all if empty")
	tests := flag.String("run", "", "the tests to run, as go test -run; all tests and the trial if empty")
	cache := flag.String("cache", ".cache/kernels", "directory that keeps what was downloaded")
	results := flag.String("results", "", "file to write the tables to, besides printing them")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := testKernels(ctx, *only, *tests, *cache, *results); err != nil {
		fmt.Fprintln(os.Stderr, "kernels:", err)
		os.Exit(1)
	}
}

// testKernels runs from the top of the checkout.
func testKernels(ctx context.Context, only, tests, cache, results string) error {
	work, err := os.MkdirTemp("", "weir-kernels-")
	if err != nil {
		return fmt.Errorf("making a directory: %w", err)
	}
	defer os.RemoveAll(work)
	if err := buildPrograms(ctx, work); err != nil {
		return err
	}
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	var all []*outcome
	var failed error
	for _, t := range chosen {
		o := &outcome{target: t, tests: tests}
		err := o.test(ctx, cache, work)
		if err != nil {
			o.problems = append(o.problems, err.Error())
		}
		o.judge()
		all = append(all, o)
		o.print(os.Stdout)
		if len(o.problems) > 0 {
			failed = errors.Join(failed, fmt.Errorf("%s: %s", t.name, strings.Join(o.problems, "; ")))
		}
	}
	table := tables(all)
	fmt.Print("\n", table)
	if results != "" && ctx.Err() == nil {
		if err := record(ctx, results, table); err != nil {
			return err
		}
	}
	return failed
}

func choose(only string) ([]target, error) {
	if only == "" {
		return targets(), nil
	}
	var chosen []target
	for _, name := range strings.Split(only, ",") {
		n := len(chosen)
		for _, t := range targets() {
			if t.name == name {
				chosen = append(chosen, t)
			}
		}
		if len(chosen) == n {
			return nil, fmt.Errorf("there is no kernel %q", name)
		}
	}
	return chosen, nil
}

// test runs everything on one kernel.
func (o *outcome) test(ctx context.Context, cache, work string) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	if o.release == "" {
		return runHere(ctx, o, work)
	}
	dir := filepath.Join(cache, o.name)
	if err := fetch(ctx, o.target, dir); err != nil {
		return err
	}
	image := filepath.Join(work, o.name+".cpio")
	if err := writeImage(image, dir, work); err != nil {
		return err
	}
	return boot(ctx, o, filepath.Join(dir, "vmlinuz"), image, filepath.Join(dir, "console.log"))
}
