package cli

import (
	"context"
	"errors"
	"fmt"
)

// The exit codes.
const (
	ExitOK         = 0
	ExitError      = 1 // no broker, no topic, no permission
	ExitUsage      = 2 // a wrong argument or bad configuration
	ExitNotApplied = 3 // written, but not applied everywhere in time, or refused
	ExitNoProbe    = 4 // written, but there is no live probe that it concerns
	ExitNothing    = 5 // there was nothing to release, or nothing is known
	ExitDiffers    = 6 // topics differ from the contract
)

// exitHelp documents them in -help.
const exitHelp = `Exit codes:
  0  done: every live probe that it concerns has applied it
  1  an error: no broker, no topic, no permission
  2  wrong arguments or bad configuration
  3  written, but some probes have not applied it in time, or refused it
  4  written, but no live probe is concerned
  5  nothing to release, or nothing known
  6  topics differ from the contract`

// exitError carries an exit code. Its text, unless empty, goes to stderr.
type exitError struct {
	code int
	text string
}

func (e *exitError) Error() string { return e.text }

// exit returns an error that ends the program with code. The text is empty
// where the output has said it all.
func exit(code int, format string, args ...any) error {
	return &exitError{code: code, text: fmt.Sprintf(format, args...)}
}

// usage returns an error for a wrong argument.
func usage(err error) error { return exit(ExitUsage, "%v", err) }

// exitCode returns the code that an error means.
func exitCode(err error) int {
	var e *exitError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return ExitOK
	case errors.As(err, &e):
		return e.code
	}
	return ExitError
}
