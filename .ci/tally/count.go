package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// keepLines is how much of a failed test's output is shown, from its end.
const keepLines = 80

// event is a line of go test -json.
type event struct {
	Action, Package, Test, Output, ImportPath, FailedBuild string
	Elapsed                                                float64
}

// counter adds up the tests of all modules.
type counter struct {
	out                     io.Writer
	strict                  bool // a skip is a failure
	passed, failed, skipped int
}

// read counts the events of one go test.
func (c *counter) read(r io.Reader) {
	output := map[string][]string{}
	failures := map[string]int{} // by package
	in := bufio.NewScanner(r)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			c.broken("go test", in.Text())
			continue
		}
		id := e.Package + " " + e.Test
		switch {
		case e.Action == "build-output":
			output[e.ImportPath] = append(output[e.ImportPath], e.Output)
		case e.Action == "output":
			output[id] = append(output[id], e.Output)
		case e.Action != "pass" && e.Action != "fail" && e.Action != "skip":
		case e.Test != "":
			if c.test(e, output[id]) {
				failures[e.Package]++
			}
			delete(output, id)
		default:
			// A package that failed without a failed test did not build, or
			// died outside of its tests.
			if e.Action == "fail" && failures[e.Package] == 0 {
				c.broken(e.Package, strings.Join(append(output[e.FailedBuild], output[id]...), ""))
			}
			if e.Action != "skip" && e.Elapsed > 0 { // without tests it is "skipped"
				fmt.Fprintf(c.out, "   %-4s %6.1fs %s\n", e.Action, e.Elapsed, short(e.Package))
			}
		}
	}
	if err := in.Err(); err != nil {
		c.broken("go test", err.Error())
	}
}

// test counts one test and tells whether it counts as failed.
func (c *counter) test(e event, output []string) bool {
	switch {
	case e.Action == "pass":
		c.passed++
		return false
	case e.Action == "skip" && !c.strict:
		c.skipped++
		c.show("skip "+short(e.Package)+" "+e.Test, output)
		return false
	}
	c.failed++
	c.show(e.Action+" "+short(e.Package)+" "+e.Test, output)
	return true
}

// broken counts what kept tests from running.
func (c *counter) broken(what, why string) {
	c.failed++
	c.show("fail "+short(what), strings.SplitAfter(why, "\n"))
}

func (c *counter) show(title string, lines []string) {
	fmt.Fprintln(c.out, "---", title)
	if n := len(lines) - keepLines; n > 0 {
		lines = append([]string{fmt.Sprintf("(%d lines)\n", n)}, lines[n:]...)
	}
	text := strings.Join(lines, "")
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	fmt.Fprint(c.out, text)
}

// summary is the closing line.
func (c *counter) summary() string {
	s := fmt.Sprintf("%d passed, %d failed", c.passed, c.failed)
	if c.skipped > 0 {
		s += fmt.Sprintf(", %d skipped", c.skipped)
	}
	return s
}

// short leaves out what all our packages share.
func short(pkg string) string { return strings.TrimPrefix(pkg, "github.com/weir-net/weir/") }
