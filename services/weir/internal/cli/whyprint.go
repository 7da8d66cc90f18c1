package cli

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/weir/internal/why"
)

// shownWindows bounds the windows of counts that are printed, the last ones;
// JSON has all.
const shownWindows = 8

// printWhy writes an answer for people.
func (a *app) printWhy(x *answer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s %s\n", name, schemas.Printable(fmt.Sprintf(format, args...), 400))
	}
	if !x.Known {
		fmt.Fprintf(&b, "nothing is known of %s: no lease names it, and no event or attack that the topics still have\n", x.Question)
	}
	for i := range x.Leases {
		l := &x.Leases[i]
		if l.Role == why.RoleAny {
			continue
		}
		fmt.Fprintf(&b, "%s %s at %s: %s\n", l.Match, l.action(), l.Target, l.verdict())
		if l.Reason != "" {
			line("reason", "%s", l.Reason)
		}
		if e := l.Evidence; e != nil {
			line("rule", "%s: measured %s, threshold %s, in %s", e.Rule, number(e.Measured), number(e.Threshold), e.Window)
		}
		line("since", "%s", since(l, x.At))
		line("issuer", "%s, offset %d, key %s", l.Issuer, l.Offset, l.Key)
		for _, p := range l.Probes {
			line(p.Interface, "%s", p.text(x.At))
		}
		if len(l.Probes) == 0 {
			line("probes", "none that it concerns has reported within the hour")
		}
		line("in all", "%d packets dropped, %d would have been", l.DroppedPackets, l.WouldDrop)
		for _, beaten := range l.Beaten {
			part := "in part"
			if beaten.Whole {
				part = "wholly"
			}
			line("beaten by", "%s (%s)", beaten.Key, part)
		}
		if l.Trace != nil {
			line("evidence", "%s", traceText(l.Trace, l.Evidence))
			for _, w := range l.Trace.Windows[max(0, len(l.Trace.Windows)-shownWindows):] {
				line("", "%s", windowText(&w))
			}
		}
	}
	a.printSignatures(&b, x.Leases)
	if len(x.Attacks) > 0 {
		fmt.Fprintln(&b, "attacks")
	}
	for i := range x.Attacks {
		fmt.Fprintf(&b, "  %s %s\n", x.Attacks[i].Start.UTC().Format(time.RFC3339), attackText(&x.Attacks[i].Record))
	}
	if len(x.Events) > 0 {
		fmt.Fprintln(&b, "events")
		for _, e := range x.Events {
			line(e.At.UTC().Format("15:04:05"), "%s: %s", e.Kind, e.Reason)
		}
	}
	_, err := fmt.Fprint(a.Out, b.String())
	return err
}

// printSignatures lists the leases that take packets of any source.
func (a *app) printSignatures(b *strings.Builder, leases []explained) {
	first := true
	for i := range leases {
		l := &leases[i]
		if l.Role != why.RoleAny {
			continue
		}
		if first {
			fmt.Fprintln(b, "signatures in force, which any source may meet")
			first = false
		}
		fmt.Fprintf(b, "  %s\n", schemas.Printable(fmt.Sprintf("%s %s at %s by %s: %s", l.Match, l.action(), l.Target, l.Issuer, l.Reason), 400))
	}
}

// verdict says in a few words what becomes of the packets.
func (x *explained) verdict() string {
	if x.State != "in force" {
		return x.State
	}
	for _, b := range x.Beaten {
		if b.Whole {
			return "in force, but an allow beats it"
		}
	}
	effects := map[string]int{}
	for _, p := range x.Probes {
		effects[p.Effect]++
	}
	var out []string
	for _, e := range slices.Sorted(maps.Keys(effects)) {
		out = append(out, fmt.Sprintf("%s on %d", e, effects[e]))
	}
	if len(out) == 0 {
		return "in force"
	}
	return "in force, " + strings.Join(out, ", ")
}

func since(x *explained, now time.Time) string {
	s := x.Since.Format(time.RFC3339) + " (" + short(now.Sub(x.Since)) + " ago)"
	if x.Renewals > 0 {
		s += ", renewed " + strconv.Itoa(x.Renewals) + " times"
	}
	switch {
	case x.Released != nil:
		return s + ", released " + short(now.Sub(*x.Released)) + " ago"
	case x.ExpiresAt != nil && x.State == "in force":
		return s + ", lapses in " + short(x.ExpiresAt.Sub(now)) + " unless renewed"
	case x.ExpiresAt != nil:
		return s + ", lapsed " + short(now.Sub(*x.ExpiresAt)) + " ago"
	}
	return s
}

func (p *probeSays) text(now time.Time) string {
	s := p.Effect + " (mode " + p.Mode + "): "
	if p.Packets == 0 && p.Would == 0 {
		return s + "no packet yet"
	}
	s += fmt.Sprintf("%d packets, %d bytes dropped", p.Packets, p.Bytes)
	if p.Would > 0 {
		s += fmt.Sprintf(", %d would have been", p.Would)
	}
	if p.LastAt != nil {
		s += ", the last " + short(now.Sub(*p.LastAt)) + " ago"
	}
	return s
}

func traceText(t *why.Trace, e *commands.Evidence) string {
	s := fmt.Sprintf("%s partition %d offset %d: window %d of %s, boot %s", t.Topic, t.Partition, t.Offset, t.Seq, t.Interface, t.BootID)
	switch {
	case t.Problem != "":
		s += "; " + t.Problem
	case t.Sum != nil:
		s += fmt.Sprintf("; the %s before it hold %d packets (%s)", e.Window, t.Sum.Packets, classesText(t.Sum.Classes))
	}
	return s
}

func windowText(w *why.Window) string {
	s := fmt.Sprintf("window %d, offset %d, until %s: %d packets", w.Seq, w.Offset, w.End.Format("15:04:05.000"), w.Packets)
	if w.Packets > 0 {
		s += " (" + classesText(w.Classes) + ")"
	}
	return s
}

func classesText(classes map[string]uint64) string {
	var out []string
	for _, name := range schemas.ClassNames {
		if n := classes[name]; n > 0 {
			out = append(out, fmt.Sprintf("%d %s", n, name))
		}
	}
	return strings.Join(out, ", ")
}

// number writes a measured value without needless digits.
func number(f float64) string { return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) }
