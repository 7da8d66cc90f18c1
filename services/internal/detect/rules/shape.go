package rules

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// checker collects what is wrong with a rules file, each with its line.
type checker struct {
	name string
	doc  *yaml.Node
	errs []error
}

// root returns the mapping at the top of the document, or nil.
func (c *checker) root() *yaml.Node {
	if c.doc.Kind == yaml.DocumentNode && len(c.doc.Content) > 0 {
		return c.doc.Content[0]
	}
	return nil
}

func (c *checker) refuseAt(line int, want, path string) {
	c.errs = append(c.errs, fmt.Errorf("%s:%d: %s: want %s", c.name, line, path, want))
}

// shape checks that every field is known and of its type: what the YAML library
// says of that names neither the field nor what was expected.
func (c *checker) shape() {
	root := c.root()
	if root == nil {
		c.refuseAt(1, "a mapping, as in the embedded rules", "the file")
		return
	}
	if c.aliases(root); len(c.errs) > 0 {
		return
	}
	c.walk(root, reflect.TypeFor[Rules](), "")
}

// aliases refuses them: one that contains itself has no end.
func (c *checker) aliases(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		c.refuseAt(n.Line, "the value itself, not an alias", "*"+n.Value)
		return
	}
	for _, x := range n.Content {
		c.aliases(x)
	}
}

func (c *checker) walk(n *yaml.Node, t reflect.Type, path string) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[yaml.Node]() {
		t = reflect.TypeFor[Set]() // of an override: it has the form of the rules
	}
	switch {
	case t == reflect.TypeFor[time.Duration]():
		c.scalar(n, t, path, "a duration, such as 10s")
	case t.Kind() == reflect.Struct:
		c.walkStruct(n, t, path)
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			c.refuseAt(n.Line, "a list", path)
			return
		}
		for i, item := range n.Content {
			c.walk(item, t.Elem(), join(path, strconv.Itoa(i)))
		}
	case t.Kind() == reflect.Map:
		if n.Kind != yaml.MappingNode {
			c.refuseAt(n.Line, "a mapping", path)
			return
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			c.walk(n.Content[i+1], t.Elem(), join(path, n.Content[i].Value))
		}
	default:
		c.scalar(n, t, path, map[reflect.Kind]string{
			reflect.Float64: "a number", reflect.Int: "a whole number", reflect.Uint64: "a whole number, 0 or more",
			reflect.Uint32: "a whole number, 0 or more", reflect.Uint16: "a port, 0 to 65535", reflect.Bool: "true or false", reflect.String: "text",
		}[t.Kind()])
	}
}

func (c *checker) walkStruct(n *yaml.Node, t reflect.Type, path string) {
	fields := fieldsOf(t)
	if n.Kind != yaml.MappingNode {
		if path == "" {
			path = "the file"
		}
		c.refuseAt(n.Line, "a mapping of "+names(fields), path)
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		field, ok := fields[key.Value]
		if !ok {
			c.refuseAt(key.Line, names(fields)+"; there is no such field", join(path, key.Value))
			continue
		}
		c.walk(n.Content[i+1], field, join(path, key.Value))
	}
}

func (c *checker) scalar(n *yaml.Node, t reflect.Type, path, want string) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" || n.Decode(reflect.New(t).Interface()) != nil {
		c.refuseAt(n.Line, want, path)
	}
}

// fieldsOf lists the YAML fields of a struct, those of inlined ones too.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case rest == "inline":
			for n, ft := range fieldsOf(f.Type) {
				out[n] = ft
			}
		case name != "" && name != "-":
			out[name] = f.Type
		}
	}
	return out
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// line finds the line of a path of keys and indexes, or of its nearest parent.
func (c *checker) line(path ...string) int {
	n, line := c.root(), 1
	for _, p := range path {
		next := child(n, p)
		if next == nil {
			return line
		}
		n, line = next, next.Line
	}
	return line
}

// child is the value of a key, or the item at an index.
func child(n *yaml.Node, name string) *yaml.Node {
	if n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return n.Content[i]
		}
	}
	return nil
}
