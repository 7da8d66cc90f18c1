// Package paper makes a page with tables and plots of a report.
package paper

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/weir-net/weir/loadtest/bench/results"
)

//go:embed page.md.tmpl
var page string

// section is one experiment of the page.
type section struct {
	Number                       int
	Title, Method, Commit, Table string
	Figure                       string // a file beside the page; empty: none
}

// firstSection is the number of the first experiment: the template has those before.
const firstSection = 4

// Write writes README.md, which begins with the summary, and its plots into dir.
func Write(r *results.Report, summary, dir string) error {
	t, err := template.New("page").Parse(page)
	if err != nil {
		return fmt.Errorf("reading the page's template: %w", err)
	}
	data := struct {
		*results.Report
		Summary  string
		Sections []section
		Last     int
	}{Report: r, Summary: summary, Last: firstSection + len(r.Experiments)}
	for i := range r.Experiments {
		e := &r.Experiments[i]
		s := section{Number: firstSection + i, Title: e.Title, Method: e.Method, Commit: e.Commit, Table: table(e)}
		if svg := plot(e); svg != "" {
			s.Figure = e.ID + ".svg"
			if err := os.WriteFile(filepath.Join(dir, s.Figure), []byte(svg), 0o644); err != nil {
				return fmt.Errorf("writing a plot: %w", err)
			}
		}
		data.Sections = append(data.Sections, s)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), out.Bytes(), 0o644); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

// table is the experiment in Markdown, with ratios to the row Versus.
func table(e *results.Experiment) string {
	var b strings.Builder
	columns := e.Columns()
	fmt.Fprintf(&b, "| %s | %s |\n|---|%s\n", e.Unit, strings.Join(columns, " | "), strings.Repeat("---:|", len(columns)))
	for _, row := range e.Rows() {
		fmt.Fprintf(&b, "| %s |", row)
		for _, column := range columns {
			fmt.Fprintf(&b, " %s |", e.Cell(row, column))
		}
		b.WriteString("\n")
	}
	if e.Versus != "" {
		fmt.Fprintf(&b, "\nIn brackets: the ratio to “%s”.\n", e.Versus)
	}
	return b.String()
}
