// Package config reads a service's configuration from the environment, through
// envconfig, and prints it as help. One struct per service: its tags say name,
// default and what the variable means.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kelseyhightower/envconfig"
)

// Validator is a configuration that can say what is wrong with itself.
type Validator interface{ Validate() error }

// Part is one struct of the configuration and the prefix of its variables.
type Part struct {
	Prefix string // such as "WEIR_PROBE"
	Into   any    // pointer to a struct
}

// Load fills the parts from the environment. A variable with the prefix of a
// part that no part knows is an error: a misspelt limit must not be ignored.
func Load(parts ...Part) error {
	var errs []error
	for _, p := range parts {
		if err := envconfig.Process(p.Prefix, p.Into); err != nil {
			errs = append(errs, fmt.Errorf("reading %s_*: %w", p.Prefix, err))
			continue
		}
		if err := envconfig.CheckDisallowed(p.Prefix, p.Into); err != nil {
			errs = append(errs, err)
		}
		if v, ok := p.Into.(Validator); ok {
			errs = append(errs, v.Validate())
		}
	}
	return errors.Join(errs...)
}

// Variable is one line of the help.
type Variable struct{ Name, Type, Default, Description string }

// Variables lists what the parts read. The description is the "desc" tag.
func Variables(parts ...Part) []Variable {
	var out []Variable
	for _, p := range parts {
		t := reflect.TypeOf(p.Into).Elem()
		for i := range t.NumField() {
			f := t.Field(i)
			if !f.IsExported() || f.Tag.Get("ignored") == "true" {
				continue
			}
			name := f.Tag.Get("envconfig")
			if name == "" {
				name = splitWords(f.Name)
			}
			out = append(out, Variable{
				Name: p.Prefix + "_" + strings.ToUpper(name), Type: typeName(f.Type),
				Default: f.Tag.Get("default"), Description: f.Tag.Get("desc"),
			})
		}
	}
	return out
}

// splitWords turns TopicPrefix into Topic_Prefix, as envconfig's split_words does.
func splitWords(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && r >= 'A' && r <= 'Z' && (s[i-1] < 'A' || s[i-1] > 'Z') {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func typeName(t reflect.Type) string {
	switch {
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	}
	return "number"
}

// Help prints the table for a terminal.
func Help(w io.Writer, parts ...Part) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, v := range Variables(parts...) {
		fmt.Fprintf(tw, "  %s\t%s\t%s\t%s\n", v.Name, v.Type, v.Default, v.Description)
	}
	tw.Flush()
}

// Markdown prints the table for a page.
func Markdown(w io.Writer, parts ...Part) {
	fmt.Fprintln(w, "| variable | type | default | meaning |\n|---|---|---|---|")
	for _, v := range Variables(parts...) {
		d := v.Default
		if d != "" {
			d = "`" + d + "`"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", v.Name, v.Type, d, strings.ReplaceAll(v.Description, "|", "\\|"))
	}
}

// HostName is the default name of this host: up to the first dot.
func HostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}
