package scale

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-net/weir/loadtest/stack"
)

// meter reads what the services have done and taken so far.
type meter struct {
	stack *stack.Stack
	admin *kadm.Client
}

// reading is one look.
type reading struct {
	at                 time.Time
	written, processed uint64 // records of the counts and of the rates topic
	processor          map[stack.Service]time.Duration
	resident           map[stack.Service]int
}

func (m *meter) read(ctx context.Context) (reading, error) {
	r := reading{at: time.Now(), processor: make(map[stack.Service]time.Duration), resident: make(map[stack.Service]int)}
	for _, service := range services() {
		if err := m.stack.Alive(); err != nil {
			return r, err
		}
		var err error
		pid := m.stack.Process(service).PID()
		if r.processor[service], err = processorTime(pid); err != nil {
			return r, err
		}
		if r.resident[service], err = resident(pid); err != nil {
			return r, err
		}
	}
	topics := m.stack.Topics
	offsets, err := m.admin.ListEndOffsets(ctx, topics.Counts, topics.Rates)
	if err == nil {
		err = offsets.Error()
	}
	if err != nil {
		return r, fmt.Errorf("asking for offsets: %w", err)
	}
	offsets.Each(func(o kadm.ListedOffset) {
		if o.Topic == topics.Counts {
			r.written += uint64(o.Offset)
		} else {
			r.processed += uint64(o.Offset)
		}
	})
	return r, nil
}

// ticksPerSecond is USER_HZ, which is 100 on every architecture that Go knows.
const ticksPerSecond = 100

// processorTime is what a process has used, in user and kernel mode.
func processorTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading processor time: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the command may contain anything
	fields := strings.Fields(rest)
	const user, system = 11, 12
	if len(fields) <= system {
		return 0, fmt.Errorf("reading processor time of %d: short stat line", pid)
	}
	sum := time.Duration(0)
	for _, i := range []int{user, system} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading processor time of %d: %w", pid, err)
		}
		sum += time.Duration(n) * time.Second / ticksPerSecond
	}
	return sum, nil
}

// resident is a process's memory in bytes.
func resident(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("reading memory: %w", err)
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0, fmt.Errorf("reading memory of %d: short statm line", pid)
	}
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0, fmt.Errorf("reading memory of %d: %w", pid, err)
	}
	return pages * os.Getpagesize(), nil
}
