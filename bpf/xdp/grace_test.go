package xdp

import (
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseCPUs(t *testing.T) {
	for list, want := range map[string][]int{"0\n": {0}, "0-3,8\n": {0, 1, 2, 3, 8}, "1,3-4": {1, 3, 4}} {
		if got, err := parseCPUs(list); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v, want %v", list, got, err, want)
		}
	}
	for _, list := range []string{"", "a", "1-", "1,,2"} {
		if got, err := parseCPUs(list); err == nil {
			t.Errorf("%q: %v", list, got)
		}
	}
}

// TestVisitCPUs: a thread that is let on every CPU gets there, and no other thread is
// moved for it.
func TestVisitCPUs(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, after unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		t.Fatal(err)
	}
	visited := make(chan error)
	go func() { visited <- visitCPUs() }()
	if err := <-visited; err != nil {
		online, _ := os.ReadFile("/sys/devices/system/cpu/online")
		if cpus, _ := parseCPUs(string(online)); before.Count() >= len(cpus) {
			t.Error(err)
		}
	}
	if err := unix.SchedGetaffinity(0, &after); err != nil || after != before {
		t.Errorf("the CPUs of another thread were %v, are %v: %v", before, after, err)
	}
}

// TestGraceIsSingle: a wait whose visitor is not back leaves the next to membarrier.
func TestGraceIsSingle(t *testing.T) {
	var g grace
	g.visiting.Store(true)
	if err := g.wait(); err != nil || !g.visiting.Load() {
		t.Errorf("visiting: %v, %v", g.visiting.Load(), err)
	}
}
