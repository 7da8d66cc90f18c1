package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 looks for named namespaces.
const netnsDir = "/run/netns"

func namespaceName(id string, ns Namespace) string { return "weir-" + id + "-" + string(ns) }
func namespacePath(name string) string             { return filepath.Join(netnsDir, name) }

// makeNamespace creates a network namespace and keeps it by a bind mount, the
// way that "ip netns add" does.
func makeNamespace(name string) error {
	if err := os.MkdirAll(netnsDir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", netnsDir, err)
	}
	path := namespacePath(name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("naming a namespace: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("naming a namespace: %w", err)
	}
	return onOwnThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unsharing the network namespace: %w", err)
		}
		if err := unix.Mount(threadNamespace, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mounting namespace %s: %w", name, err)
		}
		return nil
	})
}

// threadNamespace is the namespace of the calling thread. /proc/self would be
// that of the process's first thread, which may be anywhere.
const threadNamespace = "/proc/thread-self/ns/net"

// onOwnThread runs fn, which may change the namespace, on a thread of its own,
// and brings the thread back. One that cannot be brought back stays locked, so
// that nothing else ever runs there.
func onOwnThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open(threadNamespace)
		if err != nil {
			done <- fmt.Errorf("opening the own namespace: %w", err)
			return
		}
		defer own.Close()
		err = fn()
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
			done <- errors.Join(err, fmt.Errorf("returning from a namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

// removeNamespace drops the name; the kernel frees the namespace and its
// interfaces once the last process in it is gone.
func removeNamespace(name string) error {
	path := namespacePath(name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmounting namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing namespace %s: %w", name, err)
	}
	return nil
}

// Do runs fn on a thread of ns. Sockets that fn opens stay in ns; goroutines
// that fn starts do not run there.
func (l *Lab) Do(ns Namespace, fn func() error) error {
	if ns == Root {
		return fn()
	}
	return inNamespace(l.NamespaceName(ns), fn)
}

// Inside runs fn on a thread of a namespace of the lab of this id, which another
// process built.
func Inside(id string, ns Namespace, fn func() error) error {
	return inNamespace(namespaceName(id, ns), fn)
}

func inNamespace(name string, fn func() error) error {
	target, err := os.Open(namespacePath(name))
	if err != nil {
		return fmt.Errorf("opening namespace: %w", err)
	}
	defer target.Close()
	return onOwnThread(func() error {
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering namespace %s: %w", name, err)
		}
		return fn()
	})
}

// InLab returns nil if the calling thread is inside a lab: its
// network namespace is one of the named ones and not the machine's.
func InLab() error {
	var self, init unix.Stat_t
	if err := unix.Stat(threadNamespace, &self); err != nil {
		return fmt.Errorf("looking up the own namespace: %w", err)
	}
	if err := unix.Stat("/proc/1/ns/net", &init); err == nil && self.Ino == init.Ino && self.Dev == init.Dev {
		return errors.New("this is the machine's own network namespace, not a lab's")
	}
	names, err := filepath.Glob(filepath.Join(netnsDir, "weir-*-*"))
	if err != nil {
		return fmt.Errorf("listing namespaces: %w", err)
	}
	for _, path := range names {
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Ino == self.Ino && st.Dev == self.Dev {
			return nil
		}
	}
	return errors.New("this network namespace is not one of a lab")
}
