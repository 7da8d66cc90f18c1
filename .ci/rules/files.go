package main

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
)

// maxLines is what one file may hold: beyond it, it is two ideas.
const maxLines = 500

var (
	source    = regexp.MustCompile(`\.(go|c|h|js|css|sh)$`)
	generated = regexp.MustCompile(`(_bpfel|_bpfeb|\.pb|\.min|/vendor/.*)\.`)
	never     = regexp.MustCompile(`(^|/)vmlinux\.h$|\.pcap(ng)?$`)
	// nameless are package names that say nothing about what is inside.
	nameless = []string{"util", "utils", "helper", "helpers", "common", "misc", "shared", "lib"}
	// top is what may stand in the first level besides dotfiles.
	top = []string{
		"bpf", "schemas", "services", "loadtest", "deploy", "compose", "docs", "LICENSES",
		"go.work", "Makefile", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "LICENSE",
	}
)

// fileRules returns the files that must not be as they are.
func fileRules(root string, files []string) ([]string, error) {
	var findings []string
	odd := map[string]bool{}
	for _, f := range files {
		if first := firstOf(f); first[0] != '.' && !slices.Contains(top, first) && !odd[first] {
			odd[first] = true
			findings = append(findings, first+": does not belong at the top")
		}
		if never.MatchString(f) {
			findings = append(findings, f+": is never committed")
		}
		if dir := path.Base(path.Dir(f)); path.Ext(f) == ".go" && slices.Contains(nameless, dir) {
			findings = append(findings, f+": the package name says nothing")
		}
		if !source.MatchString(f) || generated.MatchString(f) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, f))
		if err != nil {
			return nil, fmt.Errorf("counting lines: %w", err)
		}
		if n := bytes.Count(text, []byte("\n")); n > maxLines {
			findings = append(findings, fmt.Sprintf("%s: %d lines, at most %d", f, n, maxLines))
		}
	}
	return findings, nil
}

// firstOf returns the first element of a path.
func firstOf(f string) string {
	for i, c := range f {
		if c == '/' {
			return f[:i]
		}
	}
	return f
}
