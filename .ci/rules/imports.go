package main

import (
	"fmt"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// house is the path that all modules of the project share.
const house = "github.com/weir-net/weir/"

// modules says which of our modules each module may import, tests included.
// Services meet on topics, never in code.
var modules = map[string][]string{
	"schemas":                   nil,
	"bpf":                       nil,
	"services/internal/kit":     {"schemas"},
	"services/internal/gokakit": {"schemas", "services/internal/kit"},
	"services/internal/detect":  {"schemas"},
	"services/probe":            {"schemas", "services/internal/kit", "bpf"},
	"services/aggregator":       {"schemas", "services/internal/kit", "services/internal/gokakit", "services/internal/detect"},
	"services/policy":           {"schemas", "services/internal/kit", "services/internal/detect"},
	"services/ring":             {"schemas", "services/internal/kit"},
	"services/weir":             {"schemas", "bpf", "services/internal/kit", "services/internal/detect"},
	"loadtest":                  {"schemas", "bpf"},
	".ci":                       nil,
	".ci/tools":                 nil,
}

// confined says which directories alone may import a package, by the start of
// its path.
var confined = map[string][]string{
	"github.com/IBM/sarama": {"services/internal/gokakit"},
	// The stream graph is goka's own language; everything that runs it is gokakit's.
	"github.com/lovoo/goka":                {"services/internal/gokakit", "services/aggregator/internal/graph"},
	"github.com/cilium/ebpf":               {"bpf", "loadtest"},
	"github.com/kelseyhightower/envconfig": {"services/internal/kit"},
}

// importRules returns the imports that break a rule, and how many imports
// between our modules there are.
func importRules(root string, files []string) (findings []string, crossing int, err error) {
	for _, f := range files {
		if path.Ext(f) != ".go" {
			continue
		}
		home := moduleOf(f)
		if home == "" {
			findings = append(findings, f+": is in no module that the rules know")
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, f), nil, parser.ImportsOnly)
		if err != nil {
			return nil, 0, fmt.Errorf("reading imports: %w", err)
		}
		for _, spec := range parsed.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if why := judge(home, f, imported); why != "" {
				findings = append(findings, f+": "+why)
			}
			if rest, ours := strings.CutPrefix(imported, house); ours && !within(rest, home) {
				crossing++
			}
		}
	}
	return findings, crossing, nil
}

// judge says why a file of a module must not import a package, or nothing.
func judge(home, file, imported string) string {
	if rest, ours := strings.CutPrefix(imported, house); ours {
		target := moduleOf(rest + "/x")
		if target == "" {
			return imported + " is in no module that the rules know"
		}
		if target != home && !slices.Contains(modules[home], target) {
			return home + " must not import " + target
		}
	}
	for prefix, places := range confined {
		if within(imported, prefix) && !slices.ContainsFunc(places, func(p string) bool { return within(file, p) }) {
			return "only " + strings.Join(places, ", ") + " may import " + prefix
		}
	}
	return ""
}

// moduleOf returns the directory of the module that a file is in.
func moduleOf(file string) string {
	best := ""
	for m := range modules {
		if within(file, m) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

// within tells whether p is dir or below it.
func within(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
