//go:build !linux

package kafka

import "syscall"

// boundSilence does nothing: elsewhere only the command line runs, and its
// requests have limits of their own.
func boundSilence(_, _ string, _ syscall.RawConn) error { return nil }
