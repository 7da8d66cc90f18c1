//go:build !linux

package doctor

import "runtime"

// Machine says that there is nothing to look at: probes run on Linux.
func Machine(Options) []Finding {
	return []Finding{ok("machine", "%s: probes run on Linux, this is where commands come from", runtime.GOOS)}
}
