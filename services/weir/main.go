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
		Out: os.Stdout, Err: os.Stderr,
		Height: func() int { return terminalHeight(os.Stdout) },
		Getenv: os.Getenv, Hostname: os.Hostname,
		Version: version, Connect: connect, ConfigHelp: configHelp(),
	}, os.Args[1:])
	stop()
	os.Exit(code)
}
