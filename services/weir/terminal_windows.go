package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// terminalHeight returns the lines of the terminal that f is, 0 if it is none.
func terminalHeight(f *os.File) int {
	var info windows.ConsoleScreenBufferInfo
	if err := windows.GetConsoleScreenBufferInfo(windows.Handle(f.Fd()), &info); err != nil {
		return 0
	}
	return max(1, int(info.Window.Bottom-info.Window.Top)+1)
}
