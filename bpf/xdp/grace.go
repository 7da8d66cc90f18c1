package xdp

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// grace waits until no CPU runs a program that began before.
//
// The kernel can tell with membarrier, but takes two ticks of its clock for it: 8 ms.
// Programs run with softirqs off, which no thread can interrupt; so they have also ended
// on a CPU on which a thread of ours has run meanwhile, and being on each once takes less
// than a millisecond. Where a CPU has no time for it, the kernel is asked after all.
type grace struct {
	visiting atomic.Bool // some thread is, maybe for an earlier wait
}

// visitTime is how long a thread may take to be on every CPU before the kernel is asked.
// Not at once: that call would keep a CPU's worth of goroutines from running.
const visitTime = 2 * time.Millisecond

// wait returns when no CPU runs a program that began before the call.
func (g *grace) wait() error {
	visited := g.visit()
	if visited == nil {
		return membarrier()
	}
	select {
	case err := <-visited:
		if err != nil {
			return membarrier()
		}
		return nil
	case <-time.After(visitTime):
	}
	ended := make(chan error, 1)
	go func() { ended <- membarrier() }()
	select {
	case err := <-ended:
		return err
	case err := <-visited:
		if err != nil {
			return <-ended
		}
		return nil
	}
}

// visit sends a thread to every CPU; it says when it has been there, or that it is not
// let. It returns nil if an earlier one is not back, or it would tell nothing.
func (g *grace) visit() (visited chan error) {
	if !canVisit() || !g.visiting.CompareAndSwap(false, true) {
		return nil
	}
	visited = make(chan error, 1)
	go func() {
		err := visitCPUs()
		g.visiting.Store(false)
		visited <- err
	}()
	return visited
}

// membarrier waits for a grace period of the kernel's.
func membarrier() error {
	const membarrierGlobal = 1
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); errno != 0 {
		if errno != unix.EINVAL {
			return fmt.Errorf("waiting for a grace period: %w", errno)
		}
		// Refused on nohz_full kernels: a program runs for microseconds.
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// canVisit reports whether softirqs are what threads cannot interrupt: on real-time
// kernels they are threads themselves.
func canVisit() bool {
	var name unix.Utsname
	return unix.Uname(&name) == nil && !strings.Contains(unix.ByteSliceToString(name.Version[:]), "PREEMPT_RT")
}

// visitCPUs returns after a thread has run on every CPU that is online. One that comes
// online meanwhile only knows the new epoch.
func visitCPUs() error {
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return fmt.Errorf("listing CPUs: %w", err)
	}
	cpus, err := parseCPUs(string(online))
	if err != nil {
		return err
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	for _, cpu := range cpus {
		if err := visit(cpu); err != nil {
			return err
		}
	}
	return nil
}

// visit moves the thread to a CPU. A container may not be let on some.
func visit(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("visiting CPU %d: %w", cpu, err)
	}
	var on uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&on)), 0, 0); errno != 0 {
		return fmt.Errorf("asking for the CPU: %w", errno)
	}
	if int(on) != cpu {
		return errors.New("the thread is on another CPU than it should be")
	}
	return nil
}

// parseCPUs reads a list of CPUs as the kernel writes it, such as 0-3,8.
func parseCPUs(list string) (cpus []int, err error) {
	for part := range strings.SplitSeq(strings.TrimSpace(list), ",") {
		from, to, isRange := strings.Cut(part, "-")
		first, err := strconv.Atoi(from)
		last := first
		if err == nil && isRange {
			last, err = strconv.Atoi(to)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the list of CPUs %q: %w", list, err)
		}
		for cpu := first; cpu <= last; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}
