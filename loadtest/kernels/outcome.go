package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// outcome is what became of one kernel.
type outcome struct {
	target
	tests    string // which to run; all, and the trial, if empty
	kernel   string // release of the kernel, as it calls itself
	started  time.Time
	boot     time.Duration // from power-on to the first process
	took     time.Duration // of the tests and the trial
	passed   int
	failed   []string
	skipped  []string // without a reason that holds on this kernel
	excused  int      // skipped with one
	attaches []attach
	features []feature
	takeover bool
	done     bool
	problems []string
	tail     []string // the last lines of the console
	excuses  int      // times that tests have said noTCX, less those skipped for it
}

// attach and feature are lines of guest.
type attach struct {
	Device   string `json:"device"`
	Mode     string `json:"mode"`
	Got      string `json:"got"`
	Expected bool   `json:"expected"`
	Error    string `json:"error"`
}

type feature struct {
	Name   string `json:"name"`
	Needed bool   `json:"needed"`
	Have   bool   `json:"have"`
	Error  string `json:"error"`
}

// result matches a line of go test -v about one test, a part of another included.
var result = regexp.MustCompile(`^\s*--- (PASS|FAIL|SKIP): (\S+) \(`)

const tailLines = 60

// noTCX is the one reason for which a test may be skipped, on a kernel before 6.6.
const noTCX = "this kernel has no TCX"

// excuse reports whether the skipped test has said why, and is right. What several
// parts of a test say comes before the lines that they were skipped.
func (o *outcome) excuse() bool {
	var major, minor int
	_, err := fmt.Sscanf(o.kernel, "%d.%d", &major, &minor)
	if o.excuses == 0 || err != nil || major > 6 || major == 6 && minor >= 6 {
		return false
	}
	o.excuses--
	return true
}

// read takes in what a kernel's tests print.
func (o *outcome) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if err := o.line(strings.TrimRight(lines.Text(), "\r")); err != nil {
			return err
		}
	}
	o.took = time.Since(o.started) - o.boot
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the console: %w", err)
	}
	return nil
}

func (o *outcome) line(line string) error {
	if m := result.FindStringSubmatch(line); m != nil {
		switch m[1] {
		case "PASS":
			o.passed++
			return nil
		case "FAIL":
			o.failed = append(o.failed, m[2])
		case "SKIP":
			if o.excuse() {
				o.excused++
			} else {
				o.skipped = append(o.skipped, m[2])
			}
		}
	}
	if strings.HasPrefix(line, "=== RUN") {
		return nil
	}
	if strings.Contains(line, noTCX) {
		o.excuses++
	}
	if o.tail = append(o.tail, line); len(o.tail) > tailLines {
		o.tail = o.tail[1:]
	}
	word, rest, _ := strings.Cut(line, " ")
	var err error
	switch word {
	case "GUEST":
		if kernel, up := strings.CutPrefix(rest, "up "); up && o.kernel == "" {
			o.kernel = kernel
			if o.release != "" {
				o.boot = time.Since(o.started)
			}
		}
		o.done = o.done || rest == "done ok=true"
	case "ATTACH":
		var a attach
		err = json.Unmarshal([]byte(rest), &a)
		o.attaches = append(o.attaches, a)
	case "FEATURE":
		var f feature
		err = json.Unmarshal([]byte(rest), &f)
		o.features = append(o.features, f)
	case "TAKEOVER":
		var t struct{ OK bool }
		err = json.Unmarshal([]byte(rest), &t)
		o.takeover = t.OK
	}
	if err != nil {
		return fmt.Errorf("reading %q: %w", line, err)
	}
	return nil
}

// judge lists what is wrong.
func (o *outcome) judge() {
	complain := func(format string, args ...any) { o.problems = append(o.problems, fmt.Sprintf(format, args...)) }
	switch {
	case o.kernel == "":
		complain("the kernel did not come up")
	case o.passed == 0:
		complain("no test ran")
	}
	if len(o.failed) > 0 {
		complain("failed: %s", strings.Join(o.failed, ", "))
	}
	if len(o.skipped) > 0 {
		complain("skipped: %s", strings.Join(o.skipped, ", "))
	}
	for _, a := range o.attaches {
		if a.Expected && a.Error != "" {
			complain("attaching %s to %s: %s", a.Mode, a.Device, a.Error)
		}
		if !a.Expected && a.Error == "" {
			complain("%s has become possible on %s: guest says it is not", a.Mode, a.Device)
		}
	}
	for _, f := range o.features {
		if f.Needed && !f.Have {
			complain("missing: %s", f.Name)
		}
	}
	if o.tests == "" && (len(o.attaches) == 0 || !o.takeover) {
		complain("the trial of attach modes did not come to its end")
	}
	if !o.done {
		complain("it did not come to its end")
	}
}

// print shows what became of a kernel, and if it is bad, the end of its console.
func (o *outcome) print(w io.Writer) {
	if len(o.problems) == 0 {
		fmt.Fprintf(w, "ok   %-8s %s: %d tests in %.0f s\n", o.name, o.kernel, o.passed, o.took.Seconds())
		return
	}
	for _, line := range o.tail {
		fmt.Fprintln(w, "   |", line)
	}
	for _, p := range o.problems {
		fmt.Fprintf(w, "FAIL %-8s %s: %s\n", o.name, o.kernel, p)
	}
}
