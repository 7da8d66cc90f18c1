package main

import (
	"fmt"
	"os"
)

// uniqueID makes a lab's id that no other running process uses: labs of tests
// and replays stand beside a demo that was kept.
func uniqueID(prefix string) string { return fmt.Sprintf("%s%x", prefix, os.Getpid()) }
