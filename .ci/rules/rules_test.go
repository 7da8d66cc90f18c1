package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		file, imports string
		allowed       bool
	}{
		{"schemas/counts/codec.go", house + "schemas", true},
		{"schemas/counts/codec.go", house + "bpf/xdp", false},
		{"bpf/xdp/open.go", house + "schemas", false},
		{"services/internal/kit/run/run.go", house + "schemas/events", true},
		{"services/internal/kit/run/run.go", house + "services/internal/gokakit", false},
		{"services/probe/main.go", house + "bpf/xdp", true},
		{"services/probe/main.go", house + "services/internal/kit/run", true},
		{"services/probe/main.go", house + "services/internal/detect/rules", false},
		{"services/weir/main.go", house + "services/internal/detect/engine", true},
		{"services/internal/detect/engine/engine.go", house + "services/internal/kit/kafka", false},
		{"services/policy/main.go", house + "bpf/xdp", false},
		{"services/aggregator/main_test.go", house + "services/probe/internal/drain", false},
		{"loadtest/lab/lab.go", house + "services/internal/kit/run", false},
		{"loadtest/e2e/main_test.go", house + "schemas", true},
		{"services/policy/main.go", "github.com/lovoo/goka", false},
		{"services/aggregator/main.go", "github.com/lovoo/goka/storage", false},
		{"services/aggregator/internal/graph/graph.go", "github.com/lovoo/goka", true},
		{"services/aggregator/internal/graph/graph.go", "github.com/IBM/sarama", false},
		{"services/internal/gokakit/group.go", "github.com/IBM/sarama", true},
		{"services/probe/main.go", "github.com/cilium/ebpf/link", false},
		{"services/probe/main.go", "github.com/twmb/franz-go/pkg/kgo", true},
		{"services/probe/main.go", house + "elsewhere", false},
	} {
		why := judge(moduleOf(c.file), c.file, c.imports)
		if (why == "") != c.allowed {
			t.Errorf("%s imports %s: %q", c.file, c.imports, why)
		}
	}
}

// TestFindings builds a checkout with one of each fault.
func TestFindings(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) string {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	files := []string{
		write("schemas/good.go", "package schemas\n"),
		write("schemas/bad.go", "package schemas\n\nimport _ \""+house+"bpf/xdp\"\n"),
		write("schemas/utils/x.go", "package utils\n"),
		write("schemas/long.go", "package schemas\n"+strings.Repeat("\n", 500)),
		write("schemas/full.go", "package schemas\n"+strings.Repeat("\n", 499)),
		write("schemas/long.pb.go", "package schemas\n"+strings.Repeat("\n", 900)),
		write("bpf/include/vmlinux.h", ""),
		write("loadtest/x.pcapng", ""),
		write("tools/main.go", "package main\n"),
		write(".editorconfig", ""),
	}
	got, _, err := importRules(root, files)
	if err != nil {
		t.Fatal(err)
	}
	more, err := fileRules(root, files)
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, more...)
	for _, want := range []string{
		"schemas/bad.go: schemas must not import bpf",
		"tools/main.go: is in no module that the rules know",
		"tools: does not belong at the top",
		"schemas/utils/x.go: the package name says nothing",
		"schemas/long.go: 501 lines, at most 500",
		"bpf/include/vmlinux.h: is never committed",
		"loadtest/x.pcapng: is never committed",
	} {
		found := false
		for i, g := range got {
			if g == want {
				found, got[i] = true, ""
			}
		}
		if !found {
			t.Errorf("not found: %s", want)
		}
	}
	if rest := strings.Join(got, ""); rest != "" {
		t.Errorf("beyond what is wrong: %s", rest)
	}
}
