//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// terminalHeight returns the lines of the terminal that f is, 0 if it is none.
func terminalHeight(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return max(1, int(size.Row)) // some report no size
}
