package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Command is a program to run in a lab.
type Command struct {
	Name      string // for people
	Namespace Namespace
	Path      string
	Args      []string
	Env       []string // added to this process's own
	Stdout    io.Writer
	Stderr    io.Writer
}

// Process is a running program.
type Process struct {
	id   processID
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start runs c inside its namespace. It is stopped with the lab.
func (l *Lab) Start(c Command) (*Process, error) {
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	// A group of its own: Ctrl-C reaches only the parent, which stops its
	// children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	namespace := ""
	if c.Namespace != Root {
		namespace = namespacePath(l.NamespaceName(c.Namespace))
	}
	if err := l.spawn.start(cmd, namespace); err != nil {
		return nil, fmt.Errorf("starting %s: %w", c.Name, err)
	}
	p := &Process{cmd: cmd, done: make(chan struct{}), id: processID{Name: c.Name, PID: cmd.Process.Pid}}
	var err error
	p.id.Start, err = startTime(p.id.PID)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	if errors.Is(err, os.ErrProcessDone) {
		return p, nil // it has ended already: nothing to remember
	}
	if err != nil {
		<-p.done
		return nil, fmt.Errorf("starting %s: it ended at once: %w", c.Name, p.err)
	}
	l.state.addProcess(p.id)
	return p, l.state.save()
}

func (s *stateFile) addProcess(id processID) {
	live := s.Processes[:0]
	for _, p := range s.Processes {
		if p.alive() {
			live = append(live, p)
		}
	}
	s.Processes = append(live, id)
}

// PID is the process's number.
func (p *Process) PID() int { return p.id.PID }

// Name is what the process is called.
func (p *Process) Name() string { return p.id.Name }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait returns how the process ended.
func (p *Process) Wait() error {
	<-p.done
	return p.err
}

// Signal sends a signal; a process that has ended is no error.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", p.id.Name, err)
	}
	return nil
}

// Kill ends the process as a crash would.
func (p *Process) Kill() error {
	if err := p.Signal(unix.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Stop asks the process to end and, after grace, makes it. The error is how it
// ended; ending cleanly is nil.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(grace):
	}
	if err := p.Kill(); err != nil {
		return err
	}
	return fmt.Errorf("stopping %s: still running after %v, killed", p.id.Name, grace)
}

// spawner starts processes from one thread that lives as long as this process.
// A child's parent-death signal is tied to the thread that forked it: on any
// other thread a child would be killed when the Go runtime retires it.
type spawner struct {
	requests chan spawnRequest
	keep     bool
}

type spawnRequest struct {
	cmd       *exec.Cmd
	namespace string
	done      chan error
}

func startSpawner(keep bool) (*spawner, error) {
	s := &spawner{requests: make(chan spawnRequest), keep: keep}
	own, err := os.Open(threadNamespace)
	if err != nil {
		return nil, fmt.Errorf("opening the own namespace: %w", err)
	}
	go func() {
		runtime.LockOSThread() // never unlocked
		defer own.Close()
		for r := range s.requests {
			r.done <- s.run(r, own)
		}
		if !keep {
			// The thread must not end while its children live.
			select {}
		}
	}()
	return s, nil
}

func (s *spawner) run(r spawnRequest, own *os.File) error {
	if !s.keep {
		r.cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if r.namespace == "" {
		return r.cmd.Start()
	}
	target, err := os.Open(r.namespace)
	if err != nil {
		return fmt.Errorf("opening namespace: %w", err)
	}
	defer target.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("entering namespace: %w", err)
	}
	started := r.cmd.Start()
	if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
		return errors.Join(started, fmt.Errorf("returning from namespace: %w", err))
	}
	return started
}

func (s *spawner) start(cmd *exec.Cmd, namespace string) error {
	done := make(chan error)
	s.requests <- spawnRequest{cmd: cmd, namespace: namespace, done: done}
	return <-done
}

func (s *spawner) close() { close(s.requests) }
