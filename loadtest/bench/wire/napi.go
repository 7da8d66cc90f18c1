package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weir-net/weir/loadtest/lab"
)

// threadedNAPI makes the victim's end receive on a kernel thread of its own.
// That is a file in the namespace's sysfs, which needs a mount namespace to be
// seen without disturbing the machine's.
func (w *Wire) threadedNAPI() error {
	done := make(chan error)
	go func() {
		// The thread is not unlocked: it is elsewhere for good, and ends with
		// the goroutine.
		runtime.LockOSThread()
		done <- w.setThreaded()
	}()
	return <-done
}

func (w *Wire) setThreaded() error {
	ns, err := netns.GetFromName(w.NamespaceName(lab.Victim))
	if err != nil {
		return fmt.Errorf("opening namespace: %w", err)
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return fmt.Errorf("entering namespace: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("making a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("leaving the machine's mounts alone: %w", err)
	}
	if err := unix.Mount("weir", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mounting the namespace's sysfs: %w", err)
	}
	if err := os.WriteFile(filepath.Join("/sys/class/net", lab.DataInterface, "threaded"), []byte("1"), 0); err != nil {
		return fmt.Errorf("switching NAPI to a thread: %w", err)
	}
	return nil
}
