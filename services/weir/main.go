// Command weir blocks, watches and sets up Weir over its Kafka topics.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/weir-net/weir/services/weir/internal/cli"
)

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, cli.Env{
		Out: os.Stdout, Err: os.Stderr, Terminal: isTerminal(os.Stdout),
		Getenv: os.Getenv, Hostname: os.Hostname,
		Version: version, Connect: connect, ConfigHelp: configHelp(),
	}, os.Args[1:])
	stop()
	os.Exit(code)
}

// isTerminal reports whether f is a character device, such as a terminal.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
