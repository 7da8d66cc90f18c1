// Command tally runs the tests of modules, one after the other, and counts them:
//
//	tally MODULE[:PATTERN]…
//
// where MODULE is a directory with a go.mod and PATTERN what go test is to run in
// it (./... if left out). It prints a line per package and the output of what
// failed or was skipped, and closes with "N passed, N failed". Whatever keeps a
// test from running counts as failed: a package that does not build, a module
// whose go test ends without a word, and, under CI=true, a skip.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// limit is how long one package may test.
const limit = "15m"

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: tally MODULE[:PATTERN]...")
		os.Exit(2)
	}
	c := counter{out: os.Stdout, strict: os.Getenv("CI") == "true"}
	start := time.Now()
	for _, arg := range os.Args[1:] {
		module, pattern, _ := strings.Cut(arg, ":")
		if pattern == "" {
			pattern = "./..."
		}
		fmt.Println("==", arg)
		runModule(&c, module, pattern)
	}
	fmt.Printf("tests took %v\n", time.Since(start).Round(time.Second))
	fmt.Println(c.summary())
	if c.failed > 0 || c.passed == 0 {
		os.Exit(1)
	}
}

// runModule runs the tests of one module by itself, without the workspace, so
// that what it needs is in its own go.mod.
func runModule(c *counter, module, pattern string) {
	// One package at a time: they share the kernel, the lab and the processors.
	cmd := exec.Command("go", "test", "-json", "-p", "1", "-count=1", "-timeout", limit, pattern)
	cmd.Dir = module
	cmd.Env = append(cmd.Environ(), "GOWORK=off")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.broken(module, err.Error())
		return
	}
	before := c.failed
	c.read(stdout)
	_, _ = io.Copy(io.Discard, stdout) // what could not be read must not block go test
	// An exit code without a failed test is a failure of its own.
	if err := cmd.Wait(); err != nil && c.failed == before {
		c.broken(module, fmt.Sprintf("%v\n%s", err, stderr.String()))
	} else if stderr.Len() > 0 {
		fmt.Print(stderr.String())
	}
}
