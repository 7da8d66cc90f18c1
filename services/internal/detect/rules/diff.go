package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Diff lists what differs between two rules files, a line for each field:
// "sources.R1.all.syn.at_least: 100 → 200".
func Diff(before, after *Rules) []string {
	paths := map[string]bool{}
	for p := range before.text {
		paths[p] = true
	}
	for p := range after.text {
		paths[p] = true
	}
	var out []string
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		a, was := before.text[p]
		b, is := after.text[p]
		switch {
		case !was:
			out = append(out, fmt.Sprintf("%s: %s (new)", p, b))
		case !is:
			out = append(out, fmt.Sprintf("%s: %s (gone)", p, a))
		case a != b:
			out = append(out, fmt.Sprintf("%s: %s → %s", p, a, b))
		}
	}
	return out
}

// textOf lists every value of a rules file, with those of the embedded rules that
// it does not name.
func textOf(doc *yaml.Node) (map[string]string, error) {
	var embedded yaml.Node
	if err := yaml.Unmarshal(defaults, &embedded); err != nil {
		return nil, fmt.Errorf("reading the embedded rules: %w", err)
	}
	out := flatten(&embedded)
	for i, root := 0, doc.Content[0]; i+1 < len(root.Content); i += 2 {
		if root.Content[i+1].Kind == yaml.SequenceNode {
			maps.DeleteFunc(out, func(p, _ string) bool { return strings.HasPrefix(p, root.Content[i].Value+".") })
		}
	}
	maps.Copy(out, flatten(doc))
	return out, nil
}

// flatten lists every value of a document by its path, where items of lists go
// by their id, metric, class or name if they have one.
func flatten(doc *yaml.Node) map[string]string {
	out := map[string]string{}
	var walk func(n *yaml.Node, path string)
	walk = func(n *yaml.Node, path string) {
		switch n.Kind {
		case yaml.DocumentNode:
			for _, c := range n.Content {
				walk(c, path)
			}
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(n.Content[i+1], join(path, n.Content[i].Value))
			}
		case yaml.SequenceNode:
			used := map[string]bool{}
			for i, c := range n.Content {
				name := strconv.Itoa(i)
				for _, key := range []string{"id", "metric", "class", "name"} {
					if v := child(c, key); v != nil && !used[v.Value] {
						name = v.Value
						break
					}
				}
				used[name] = true
				walk(c, join(path, name))
			}
		default:
			out[path] = n.Value
		}
	}
	walk(doc, "")
	return out
}
