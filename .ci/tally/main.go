// Command tally reads the output of go test -json. It prints a line per package
// and the output of what failed; with -total, only the closing line. Under
// CI=true a skipped test counts as failed.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
	FailedBuild                               string
}

type counts struct{ passed, failed, skipped int }

func main() {
	total := flag.Bool("total", false, "print only the closing line")
	flag.Parse()
	strict := os.Getenv("CI") == "true"
	var n counts
	output := map[string][]string{}
	failedIn := map[string]int{}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text())
			n.failed++
			continue
		}
		id := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if e.Action == "build-output" {
				id = e.ImportPath
			}
			output[id] = append(output[id], e.Output)
			continue
		case "pass", "fail", "skip", "build-fail":
		default:
			continue
		}
		if e.Test == "" {
			if e.Action == "fail" && failedIn[e.Package] == 0 { // did not build, or died outside a test
				n.failed++
				show(*total, e.Package, append(output[e.FailedBuild], output[id]...))
			}
			if !*total && e.Action != "build-fail" && e.Elapsed > 0 {
				fmt.Printf("   %-6s %6.1fs %s\n", e.Action, e.Elapsed, strings.TrimPrefix(e.Package, "github.com/weir-net/weir/"))
			}
			continue
		}
		switch {
		case e.Action == "pass":
			n.passed++
		case e.Action == "fail", strict:
			n.failed++
			failedIn[e.Package]++
			show(*total, e.Action+" "+id, output[id])
		default:
			n.skipped++
			show(*total, "skip "+id, output[id])
		}
		delete(output, id)
	}
	if !*total {
		return
	}
	fmt.Printf("%d passed, %d failed", n.passed, n.failed)
	if n.skipped > 0 {
		fmt.Printf(", %d skipped", n.skipped)
	}
	fmt.Println()
	if n.failed > 0 || n.passed == 0 {
		os.Exit(1)
	}
}

func show(quiet bool, title string, lines []string) {
	if quiet {
		return
	}
	fmt.Println("---", title)
	if len(lines) > 60 {
		lines = append([]string{"…\n"}, lines[len(lines)-60:]...)
	}
	fmt.Print(strings.Join(lines, ""))
}
