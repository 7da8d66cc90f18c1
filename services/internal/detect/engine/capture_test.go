package engine

import (
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

// fullEnv asks for every phase of the windows; without it there is one.
const fullEnv = "WEIR_CAPTURES_FULL"

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

// isAttack tells the packets of the attack: those of the attackers if they are
// listed, all of them, or, of a reflection amidst other traffic, UDP and its
// fragments.
func (l *captureLabel) isAttack() func(*frame) bool {
	attackers := l.attackers()
	switch {
	case !strings.HasPrefix(l.Category, "attack") && len(attackers) == 0:
		return func(*frame) bool { return false }
	case len(attackers) > 0:
		return func(f *frame) bool { return attackers[f.source] }
	case strings.Contains(string(l.Attackers), "every packet"):
		return func(*frame) bool { return true }
	}
	return func(f *frame) bool { return f.protocol == protocolUDP }
}

// looped plays frames over and over for 20 s, at their own times but never faster
// than pps: how floods are judged that were captured as a burst.
func looped(frames []frame, pps int) []frame {
	const span = 20 * time.Second
	length, gap := frames[len(frames)-1].at+time.Millisecond, time.Second/time.Duration(pps)
	var out []frame
	var free time.Duration // when the next one may be sent
	for i, loop := 0, time.Duration(0); ; i++ {
		if i == len(frames) {
			i, loop = 0, max(loop+length, free)
		}
		f := frames[i]
		f.at = max(f.at+loop, free)
		if f.at >= span {
			return out
		}
		out, free = append(out, f), f.at+gap
	}
}

// faster plays frames at a multiple of their speed.
func faster(frames []frame, times int) []frame {
	out := slices.Clone(frames)
	for i := range out {
		out[i].at /= time.Duration(times)
	}
	return out
}

// outcome is what the policy did about one capture.
type outcome struct {
	first                         time.Duration // after the first frame; 0: nothing was decided
	rules                         map[string]int
	sources                       map[netip.Addr]bool // that a lease names
	signatures                    int
	attack, passed, benign, spilt int // packets; spilt are benign ones that were dropped
}

// play drives an engine through frames, drained in ticks of which the first one
// ends phase after the first frame.
func play(t *testing.T, l *captureLabel, frames []frame, phase time.Duration) outcome {
	t.Helper()
	o := outcome{rules: map[string]int{}, sources: map[netip.Addr]bool{}}
	isAttack := l.isAttack()
	for i := range frames {
		if isAttack(&frames[i]) {
			o.attack++
		} else {
			o.benign++
		}
	}
	o.passed = o.attack
	p := newPlayer(t, newEngine(t))
	p.run(frames, phase, frames[len(frames)-1].at+time.Second, func(f *frame) {
		if isAttack(f) {
			o.passed--
		} else {
			o.spilt++
		}
	})
	for _, d := range p.decided {
		if d.Step != Issue && d.Step != Refuse {
			continue
		}
		if o.first == 0 {
			o.first = d.at
		}
		o.rules[d.Rule]++
		switch m := d.Command.Match; {
		case m.Source.IsValid():
			o.sources[m.Source.Addr()] = true
		case m.Destination.IsValid():
			o.signatures++
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

// labelled reads the captures that say what is expected of them, or makes some if
// there are none.
func labelled(t *testing.T) (names []string, labels map[string]*captureLabel, frames func(name string) []frame) {
	t.Helper()
	dir := os.Getenv(capturesEnv)
	if dir == "" {
		t.Logf("%s names no directory of captures: these are made", capturesEnv)
		labels, captures := made()
		return slices.Sorted(maps.Keys(labels)), labels, func(name string) []frame { return captures[name] }
	}
	if testing.Short() {
		t.Skip("takes a while")
	}
	b, err := os.ReadFile(filepath.Join(dir, "labels.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &labels); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(labels, func(_ string, l *captureLabel) bool { return l.Expected == "" })
	if len(labels) == 0 {
		t.Fatal("no labelled capture")
	}
	return slices.Sorted(maps.Keys(labels)), labels, func(name string) []frame {
		all, err := readCapture(filepath.Join(dir, name+".pcap"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		in := labels[name].ingress(all)
		if len(in) == 0 {
			t.Fatalf("%s: nothing comes in", name)
		}
		return in
	}
}

// TestCaptures holds the rules against real and lab attacks and against benign
// traffic, at their own speed, attacks also for 20 s at 5,000 packets per second
// at most, and benign ones five times as fast. Run with -v it prints what fired.
func TestCaptures(t *testing.T) {
	names, labels, read := labelled(t)
	phases := []time.Duration{20}
	if os.Getenv(fullEnv) != "" {
		phases = []time.Duration{20, 80, 140, 200}
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "capture\texpected\tspeed\tfired\tsources\tsignatures\tfirst decision\tattack packets passed\tbenign dropped")
	var passed, attack, spilt, benign int
	for _, name := range names {
		l, frames := labels[name], read(name)
		speeds := map[string][]frame{"native": frames}
		if strings.HasPrefix(l.Category, "attack") && l.Expected != "none-or-observe" {
			speeds["20 s"] = looped(frames, 5000)
		} else if strings.HasPrefix(l.Category, "benign") {
			speeds["5 times"] = faster(frames, 5)
		}
		for _, speed := range slices.Sorted(maps.Keys(speeds)) {
			for _, phase := range phases {
				o := play(t, l, speeds[speed], phase*time.Millisecond)
				for _, x := range o.judge(l) {
					t.Errorf("%s (%s, %s, phase %d): %s: %v", name, l.Expected, speed, phase, x, o.rules)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%v\t%d\t%d\t%v\t%d of %d\t%d of %d\n", name, l.Expected, speed, o.rules, len(o.sources), o.signatures, o.first, o.passed, o.attack, o.spilt, o.benign)
				if spilt, benign = spilt+o.spilt, benign+o.benign; speed == "20 s" {
					passed, attack = passed+o.passed, attack+o.attack
				}
			}
		}
	}
	w.Flush()
	t.Logf("what fired:\n%s", &table)
	t.Logf("of %d attack packets at 5,000 a second %.2f %% passed, of %d benign packets %.4f %% were dropped", attack, share(passed, attack), benign, share(spilt, benign))
	if share(passed, attack) > 6 || share(spilt, benign) > 0.05 {
		t.Error("want at most 6 % of the attack passed and 0.05 % of the rest dropped")
	}
}

func share(a, b int) float64 { return 100 * float64(a) / float64(max(1, b)) }
