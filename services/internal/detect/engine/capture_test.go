package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// capturesEnv names a directory of captures with labels.json. They are not ours
// to hand on, so that nothing of them is in the project.
const capturesEnv = "WEIR_CAPTURES"

type captureLabel struct {
	Category   string          `json:"category"`
	Expected   string          `json:"expected"`
	IngressDst []netip.Addr    `json:"ingress_dst"`
	Attackers  json.RawMessage `json:"attackers"` // addresses, or a sentence
	Onset      *float64        `json:"attack_onset_s"`
}

func (l *captureLabel) attackers() map[netip.Addr]bool {
	var list []netip.Addr
	out := map[netip.Addr]bool{}
	if json.Unmarshal(l.Attackers, &list) == nil {
		for _, a := range list {
			out[a] = true
			if p, err := a.Prefix(64); err == nil && a.Is6() {
				out[p.Addr()] = true
			}
		}
	}
	return out
}

// ingress keeps what comes in: the victim's own answers look like a second
// flood.
func (l *captureLabel) ingress(all []frame) []frame {
	return slices.DeleteFunc(slices.Clone(all), func(f frame) bool {
		return !f.source.IsValid() || len(l.IngressDst) > 0 && !slices.Contains(l.IngressDst, f.victim)
	})
}

// stretched plays frames over and over for 20 s at 5,000 a second, which is how
// bursts too short for a window are judged.
func stretched(frames []frame) []frame {
	const pps, span = 5000, 20 * time.Second
	out := make([]frame, 0, pps*int(span/time.Second))
	for i := range cap(out) {
		f := frames[i%len(frames)]
		f.at = time.Duration(i) * time.Second / pps
		out = append(out, f)
	}
	return out
}

// outcome is what the policy did about one capture.
type outcome struct {
	first      time.Duration // after the first frame; 0: nothing was decided
	rules      map[string]int
	sources    map[netip.Addr]bool // that a lease names
	signatures int
}

// play drives an engine through frames, drained in ticks of which the first one
// ends phase after the first frame.
func play(t *testing.T, frames []frame, phase time.Duration) outcome {
	t.Helper()
	o := outcome{rules: map[string]int{}, sources: map[netip.Addr]bool{}}
	e, r := newEngine(t), &reference{}
	for i, end := 0, phase; i < len(frames) || end < frames[len(frames)-1].at+time.Second; end += tick {
		w := newWindow()
		for ; i < len(frames) && frames[i].at < end; i++ {
			w.add(&frames[i])
		}
		if r.push(w); r.empty() {
			continue
		}
		at := now.Add(end)
		for _, d := range e.Rates(r.record(at), at) {
			if o.first == 0 {
				o.first = end
			}
			o.rules[d.Rule]++
			if m := d.Command.Match; m.Source.IsValid() {
				o.sources[m.Source.Addr()] = true
			} else {
				o.signatures++
			}
		}
	}
	return o
}

// judge says what is wrong with an outcome.
func (o *outcome) judge(l *captureLabel) []string {
	var wrong []string
	attackers := l.attackers()
	for a := range o.sources {
		if !attackers[a] {
			wrong = append(wrong, "acted on the innocent "+a.String())
		}
	}
	switch l.Expected {
	case "none", "mining", "none-or-observe":
		if len(o.rules) > 0 {
			wrong = append(wrong, "decided something")
		}
	case "signature":
		if len(o.sources) > 0 {
			wrong = append(wrong, fmt.Sprintf("%d leases on sources", len(o.sources)))
		}
		if o.signatures == 0 {
			wrong = append(wrong, "no signature")
		}
	case "block", "ratelimit-or-block":
		if len(o.sources) == 0 || o.signatures > 0 {
			wrong = append(wrong, fmt.Sprintf("%d leases on sources, %d signatures", len(o.sources), o.signatures))
		}
	}
	return wrong
}

// TestCaptures holds the rules against real and lab attacks and against benign
// traffic, at their own speed and, those that are a burst, at an even one. Run
// with -v it prints what fired.
func TestCaptures(t *testing.T) {
	dir := os.Getenv(capturesEnv)
	if dir == "" {
		t.Skipf("%s names no directory of captures", capturesEnv)
	}
	b, err := os.ReadFile(filepath.Join(dir, "labels.json"))
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]*captureLabel{}
	if err := json.Unmarshal(b, &labels); err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "capture\texpected\tspeed\tfired\tsources\tsignatures\tfirst decision (p50 of 4 phases)")
	played := 0
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		l := labels[name]
		if l.Expected == "" {
			continue
		}
		all, err := readCapture(filepath.Join(dir, name+".pcap"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		frames := l.ingress(all)
		if len(frames) == 0 {
			t.Errorf("%s: nothing comes in", name)
			continue
		}
		played++
		speeds := map[string][]frame{"native": frames}
		if span := frames[len(frames)-1].at; strings.HasPrefix(l.Category, "attack") && span.Seconds()*5000 < float64(len(frames)) {
			speeds["5000 pps"] = stretched(frames)
		}
		for _, speed := range slices.Sorted(maps.Keys(speeds)) {
			var runs []outcome
			for phase := range 4 {
				o := play(t, speeds[speed], time.Duration(20+60*phase)*time.Millisecond)
				for _, x := range o.judge(l) {
					t.Errorf("%s (%s, %s, phase %d): %s: %v", name, l.Expected, speed, phase, x, o.rules)
				}
				runs = append(runs, o)
			}
			slices.SortFunc(runs, func(a, b outcome) int { return cmp.Compare(a.first, b.first) })
			o := runs[2]
			fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%d\t%d\t%v\n", name, l.Expected, speed, o.rules, len(o.sources), o.signatures, o.first)
		}
	}
	if played == 0 {
		t.Error("no labelled capture")
	}
	w.Flush()
	t.Logf("what fired:\n%s", &table)
}
