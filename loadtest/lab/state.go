package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// stateDir holds one state file and one lock per lab. /run is emptied at boot,
// just as namespaces and links are.
const stateDir = "/run/weir-lab"

// processID names a process beyond the reuse of its number.
type processID struct {
	Name  string `json:"name"`
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // ticks since boot, field 22 of /proc/<pid>/stat
}

// stateFile is what a lab has made. The lock is held as long as the process
// that made it lives, so that a stale lab is one whose lock is free.
type stateFile struct {
	ID         string      `json:"id"`
	Kept       bool        `json:"kept"`
	Namespaces []string    `json:"namespaces"`
	Links      []string    `json:"links"`
	Pins       []string    `json:"pins"`
	Dirs       []string    `json:"dirs"`
	Processes  []processID `json:"processes"`

	lock *os.File
}

// ErrBusy says that another process has a lab of this id.
var ErrBusy = errors.New("it is in use: end the demo or run that is going on, or wait for it")

func statePath(id string) string { return filepath.Join(stateDir, id+".json") }

func openState(id string) (*stateFile, error) {
	lock, err := takeLock(id)
	if err != nil {
		return nil, err
	}
	s := &stateFile{ID: id, lock: lock}
	// A kept lab of the same name gives way to the new one.
	if old, err := readState(id); err == nil {
		if err := old.dismantle(3 * time.Second); err != nil {
			return nil, errors.Join(fmt.Errorf("taking down the old lab %s: %w", id, err), lock.Close())
		}
	}
	return s, s.save()
}

func takeLock(id string) (*os.File, error) {
	f, err := openLock(id)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", id, ErrBusy), f.Close())
	}
	return f, nil
}

// waitForLock takes a lock that is held for moments only. Its name has a dot,
// so that it is no lab's.
func waitForLock(name string) (*os.File, error) {
	f, err := openLock("all." + name)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("waiting for lock %s: %w", name, err), f.Close())
	}
	return f, nil
}

func openLock(id string) (*os.File, error) {
	if err := os.MkdirAll(stateDir, 0o755); err != nil {
		return nil, fmt.Errorf("making %s: %w", stateDir, err)
	}
	f, err := os.OpenFile(filepath.Join(stateDir, id+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock of lab %s: %w", id, err)
	}
	return f, nil
}

func readState(id string) (*stateFile, error) {
	b, err := os.ReadFile(statePath(id))
	if err != nil {
		return nil, fmt.Errorf("reading the state of lab %s: %w", id, err)
	}
	var s stateFile
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("reading the state of lab %s: %w", id, err)
	}
	return &s, nil
}

// save writes the file whole or not at all.
func (s *stateFile) save() error {
	b, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return fmt.Errorf("writing the state of lab %s: %w", s.ID, err)
	}
	tmp := statePath(s.ID) + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("writing the state of lab %s: %w", s.ID, err)
	}
	if err := os.Rename(tmp, statePath(s.ID)); err != nil {
		return fmt.Errorf("writing the state of lab %s: %w", s.ID, err)
	}
	return nil
}

func (s *stateFile) release() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

func (s *stateFile) takeDown(grace time.Duration) error {
	return errors.Join(s.dismantle(grace), s.release())
}

// dismantle removes everything that the state names, going on after errors,
// and the state file last, so that what could not be removed is tried again.
func (s *stateFile) dismantle(grace time.Duration) error {
	var failed []error
	for i := len(s.Processes) - 1; i >= 0; i-- {
		failed = append(failed, s.Processes[i].end(grace))
	}
	for _, path := range s.Pins {
		failed = append(failed, os.RemoveAll(path))
	}
	for _, name := range s.Links {
		failed = append(failed, removeLink(name))
	}
	for _, name := range s.Namespaces {
		failed = append(failed, removeNamespace(name))
	}
	for _, dir := range s.Dirs {
		failed = append(failed, os.RemoveAll(dir))
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("taking down lab %s: %w", s.ID, err)
	}
	for _, path := range []string{statePath(s.ID), filepath.Join(stateDir, s.ID+".lock")} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the state of lab %s: %w", s.ID, err)
		}
	}
	return nil
}

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		var missing netlink.LinkNotFoundError
		if errors.As(err, &missing) {
			return nil
		}
		return fmt.Errorf("finding %s: %w", name, err)
	}
	if err := netlink.LinkDel(link); err != nil {
		return fmt.Errorf("deleting %s: %w", name, err)
	}
	return nil
}

// Sweep takes down labs whose process is gone: those left by a crash, and with
// kept also those left on purpose. It returns their ids.
func Sweep(kept bool) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(stateDir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("listing labs: %w", err)
	}
	var gone []string
	var failed []error
	for _, f := range files {
		id := strings.TrimSuffix(filepath.Base(f), ".json")
		lock, err := takeLock(id)
		if err != nil {
			if !errors.Is(err, ErrBusy) {
				failed = append(failed, err)
			}
			continue
		}
		s, err := readState(id)
		if err == nil && (kept || !s.Kept) {
			err = s.dismantle(3 * time.Second)
			gone = append(gone, id)
		}
		failed = append(failed, err, lock.Close())
	}
	return gone, errors.Join(failed...)
}

// Remove takes down the lab of this id, kept or not, unless its process lives.
func Remove(id string) error {
	lock, err := takeLock(id)
	if err != nil {
		return err
	}
	s, err := readState(id)
	if err == nil {
		err = s.dismantle(3 * time.Second)
	}
	return errors.Join(err, lock.Close())
}

// startTime returns when a process started, in ticks since boot.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("reading when process %d started: %w", pid, err)
	}
	// The command in parentheses may contain anything, spaces included.
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, fmt.Errorf("reading when process %d started: short stat line", pid)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading when process %d started: %w", pid, err)
	}
	if fields[0] == "Z" {
		return 0, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	return start, nil
}

func (p processID) alive() bool {
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}

// end asks the process to stop and, after grace, makes it.
func (p processID) end(grace time.Duration) error {
	for _, signal := range []unix.Signal{unix.SIGCONT, unix.SIGTERM, unix.SIGKILL} {
		if !p.alive() {
			return nil
		}
		if err := unix.Kill(p.PID, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("ending %s: %w", p.Name, err)
		}
		if signal == unix.SIGCONT {
			continue
		}
		for deadline := time.Now().Add(grace); p.alive() && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if p.alive() {
		return fmt.Errorf("ending %s: process %d does not die", p.Name, p.PID)
	}
	return nil
}
