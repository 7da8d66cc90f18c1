// Command rules holds the repository against the house rules that a compiler
// does not check: who may import whom, and what is never committed. It prints a
// line per finding and exits 1 if there is one. It reads source files and
// nothing else, so that it needs no build:
//
//	rules [DIRECTORY]
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := check(root); err != nil {
		fmt.Fprintln(os.Stderr, "rules:", err)
		os.Exit(1)
	}
}

// check reads the checkout at root, prints what it finds, and fails if that is
// anything or if there was nothing to look at.
func check(root string) error {
	files, err := committed(root)
	if err != nil {
		return err
	}
	findings, imports, err := importRules(root, files)
	if err != nil {
		return err
	}
	more, err := fileRules(root, files)
	if err != nil {
		return err
	}
	findings = append(findings, more...)
	for _, f := range findings {
		fmt.Println(f)
	}
	switch {
	case len(findings) > 0:
		return fmt.Errorf("%d findings", len(findings))
	case imports == 0:
		return errors.New("no import between modules found: is this the right directory?")
	}
	fmt.Printf("rules: %d files, %d imports between modules, as they should be\n", len(files), imports)
	return nil
}

// committed lists the files that git knows, or is about to.
func committed(root string) ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("listing files: %w", err)
	}
	var files []string
	for _, f := range strings.Split(string(out), "\x00") {
		if f == "" {
			continue
		}
		if _, err := os.Lstat(root + "/" + f); err == nil { // deleted, not yet committed
			files = append(files, f)
		}
	}
	return files, nil
}
