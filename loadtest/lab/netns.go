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
	done := make(chan error)
	go func() {
		// Never unlocked: the thread ends with the goroutine, so that nothing
		// else ever runs in the new namespace by accident.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("unsharing the network namespace: %w", err)
			return
		}
		self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		if err := unix.Mount(self, path, "", unix.MS_BIND, ""); err != nil {
			done <- fmt.Errorf("mounting namespace %s: %w", name, err)
			return
		}
		done <- nil
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
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("entering namespace %s: %w", name, err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// InLab returns nil if the calling thread is inside a lab: its
// network namespace is one of the named ones and not the machine's.
func InLab() error {
	var self, init unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &self); err != nil {
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
