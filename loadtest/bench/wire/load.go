package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/crew"
	"github.com/weir-net/weir/loadtest/lab"
	"github.com/weir-net/weir/loadtest/scenario"
	"github.com/weir-net/weir/loadtest/traffic"
)

// Host is what a host under a flood uses, in percent of one CPU.
type Host struct {
	Receiving float64 // the thread that receives: driver, XDP, filter, stack
	Serving   float64 // the web server
	Machine   float64 // everything on the machine, the sender included, of all CPUs
	PPS       float64 // packets per second that arrived
}

// Experiment is a host with a web server whose receiving runs on a thread of its
// own, so that its CPU time is told apart from the sender's.
type Experiment struct {
	*Wire
	crew   crew.Crew
	server *lab.Process
	cpu    int // of sending; the host receives on the other
}

// NewExperiment sets the host up. bin is the directory of the binaries.
func (w *Wire) NewExperiment(bin string, cpu int) (*Experiment, error) {
	x := &Experiment{Wire: w, crew: crew.Crew{Lab: w.Lab, Bin: bin}, cpu: cpu}
	dir, err := w.TempDir()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(w.likeNIC(), w.receive(receiving{threaded: true})); err != nil {
		return nil, err
	}
	x.server, err = x.crew.Serve(filepath.Join(dir, "server.log"), httpPort)
	return x, err
}

const httpPort = 80

// Wait makes the receiving thread wait for more once it has taken up a packet, as
// a NIC does that moderates its interrupts; 0 is not at all.
func (x *Experiment) Wait(d time.Duration) error {
	return x.receive(receiving{threaded: true, wait: d})
}

// Flooding starts a flood; nil is none.
type Flooding func(crew.Crew) (*crew.Flood, error)

// SYNFlood is connection requests at a fixed rate.
func SYNFlood(attackers int, pps float64) Flooding {
	return func(c crew.Crew) (*crew.Flood, error) {
		return c.Raw(traffic.RawFlood{Sources: traffic.SourcesOf(lab.HTTPAttackers, attackers), Destination: lab.VictimAddress, Port: httpPort, PPS: pps, Seed: 1}, 0)
	}
}

// HTTPFlood is requests, a connection each, at a fixed rate.
func HTTPFlood(attackers int, connections float64) Flooding {
	return func(c crew.Crew) (*crew.Flood, error) {
		return c.HTTP(traffic.HTTPFlood{
			Server: scenario.Server(httpPort), Sources: traffic.SourcesOf(lab.HTTPAttackers, attackers), Workers: 64, Rate: connections,
		})
	}
}

// Measure lets a flood meet a treatment and measures the host for some time.
func (x *Experiment) Measure(ctx context.Context, t Treatment, flood Flooding, length time.Duration) (h Host, err error) {
	undo, err := t.apply(x.Wire)
	if err != nil {
		return h, err
	}
	defer func() { err = errors.Join(err, undo()) }()
	receiver, ok := kernelThread(func(name string) bool { return strings.HasPrefix(name, "napi/"+lab.DataInterface) })
	if !ok {
		return h, fmt.Errorf("%w: no NAPI thread", errUnavailable)
	}
	if err := moveTo(receiver, (x.cpu+1)%runtime.NumCPU()); err != nil {
		return h, err
	}
	if flood != nil {
		f, err := flood(x.crew)
		if err != nil {
			return h, err
		}
		defer func() {
			_, stop := f.Stop()
			err = errors.Join(err, stop)
		}()
		if err := x.awaitPackets(ctx); err != nil {
			return h, err
		}
	}
	before, err := x.read(receiver)
	if err != nil {
		return h, err
	}
	select {
	case <-ctx.Done():
		return h, ctx.Err()
	case <-time.After(length):
	}
	after, err := x.read(receiver)
	if err != nil {
		return h, err
	}
	took := after.at.Sub(before.at)
	share := func(d time.Duration) float64 { return 100 * d.Seconds() / took.Seconds() }
	return Host{
		Receiving: share(after.receiving - before.receiving),
		Serving:   share(after.serving - before.serving),
		Machine:   max(0, 100-share(after.idle-before.idle)/float64(runtime.NumCPU())),
		PPS:       float64(after.packets-before.packets) / took.Seconds(),
	}, nil
}

// reading is the counters at one time.
type reading struct {
	at                       time.Time
	receiving, serving, idle time.Duration
	packets                  uint64
}

func (x *Experiment) read(receiver int) (r reading, err error) {
	stats, err := x.Wire.Wire(lab.Victim)
	if err != nil {
		return r, err
	}
	r = reading{at: time.Now(), receiving: timeOf(receiver), packets: stats.ReceivedPackets}
	r.serving = timeOfAll(x.server.PID())
	r.idle, err = idleTime()
	return r, err
}

func (x *Experiment) awaitPackets(ctx context.Context) error {
	first, err := x.Wire.Wire(lab.Victim)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if now, err := x.Wire.Wire(lab.Victim); err != nil || now.ReceivedPackets > first.ReceivedPackets+100 {
			return err
		}
	}
	return errors.Join(errors.New("the flood does not arrive"), ctx.Err())
}

// timeOfAll is the CPU time that all threads of a process have used.
func timeOfAll(pid int) (sum time.Duration) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0
	}
	for _, t := range tasks {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			sum += timeOf(id)
		}
	}
	return sum
}

// idleTime is the time that all CPUs were idle. Kernels that stop the tick of an
// idle CPU keep it by the clock; the time that CPUs were busy is sampled at ticks,
// which a flood can run in step with.
func idleTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the CPUs' times: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	const userHZ, idle, ioWait = 100, 4, 5
	if len(fields) <= ioWait {
		return 0, fmt.Errorf("reading the CPUs' times: %q", line)
	}
	var ticks int64
	for _, i := range []int{idle, ioWait} {
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the CPUs' times: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / userHZ, nil
}

func moveTo(pid, cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(pid, &set); err != nil {
		return fmt.Errorf("moving thread %d to CPU %d: %w", pid, cpu, err)
	}
	return nil
}
