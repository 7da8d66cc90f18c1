package main

import (
	"fmt"
	"html"
	"regexp"
	"strconv"
	"strings"
)

// escape is a sequence that sets how text looks; a terminal program that prints
// only once writes no others.
var escape = regexp.MustCompile("\x1b\\[([0-9;]*)m")

// look is how text looks.
type look struct {
	colour              string
	bold, faint, italic bool
}

// terminal makes a page that looks like a terminal in which text was printed.
func terminal(prompt, text string) string {
	var b strings.Builder
	b.WriteString(`<!doctype html><meta charset="utf-8"><style>
body { margin: 0; background: #16191d; }
pre { display: inline-block; margin: 0; padding: 18px 22px; color: #d8dde3; background: #16191d; font: 14px/19px "DejaVu Sans Mono", "Liberation Mono", monospace; }
</style><pre id="terminal">`)
	b.WriteString(`<span style="color:#7ed069">$</span> ` + html.EscapeString(prompt) + "\n")
	var now look
	rest := text
	for {
		at := escape.FindStringSubmatchIndex(rest)
		if at == nil {
			b.WriteString(now.span(rest))
			break
		}
		b.WriteString(now.span(rest[:at[0]]))
		now = now.after(rest[at[2]:at[3]])
		rest = rest[at[1]:]
	}
	b.WriteString("</pre>")
	return b.String()
}

// after is the look after a sequence's numbers.
func (l look) after(numbers string) look {
	fields := strings.Split(numbers, ";")
	for i := 0; i < len(fields); i++ {
		switch fields[i] {
		case "", "0":
			l = look{}
		case "1":
			l.bold = true
		case "2":
			l.faint = true
		case "3":
			l.italic = true
		case "38": // 38;2;red;green;blue
			if i+4 < len(fields) && fields[i+1] == "2" {
				var rgb [3]int
				for k := range rgb {
					rgb[k], _ = strconv.Atoi(fields[i+2+k]) // 0 if it is none
				}
				l.colour = fmt.Sprintf("#%02x%02x%02x", rgb[0], rgb[1], rgb[2])
				i += 4
			}
		case "39":
			l.colour = ""
		}
	}
	return l
}

func (l look) span(text string) string {
	text = html.EscapeString(text)
	if text == "" || l == (look{}) {
		return text
	}
	var style strings.Builder
	if l.colour != "" {
		style.WriteString("color:" + l.colour + ";")
	}
	if l.bold {
		style.WriteString("font-weight:bold;")
	}
	if l.faint {
		style.WriteString("opacity:0.65;")
	}
	if l.italic {
		style.WriteString("font-style:italic;")
	}
	return `<span style="` + style.String() + `">` + text + "</span>"
}
