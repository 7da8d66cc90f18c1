package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// mixed is the protocol by which the policy is judged: 20 s of benign traffic,
// then an attack for 20 s over it, and benign traffic until a minute is over.
func mixed(benign [][]frame, attack []frame, victim netip.Addr) (all []frame, isAttack map[int]bool) {
	type one struct {
		frame
		attack bool
	}
	var list []one
	for _, frames := range benign {
		for _, f := range frames {
			if f.at >= time.Minute {
				break
			}
			if victim.IsValid() && victim.Is4() == f.victim.Is4() {
				f.victim = victim // clients of the very host that is attacked
			}
			list = append(list, one{f, false})
		}
	}
	for _, f := range attack {
		f.at += 20 * time.Second
		list = append(list, one{f, true})
	}
	slices.SortStableFunc(list, func(a, b one) int { return int(a.at - b.at) })
	isAttack = map[int]bool{}
	for i, x := range list {
		all = append(all, x.frame)
		isAttack[i] = x.attack
	}
	return all, isAttack
}

// TestAttacksOverBenignTraffic plays each attack over all benign captures at
// once, whose clients also talk to the attacked host itself.
func TestAttacksOverBenignTraffic(t *testing.T) {
	names, labels, read := labelled(t)
	var benign [][]frame
	friends := map[netip.Addr]bool{}
	for _, name := range names {
		if l := labels[name]; strings.HasPrefix(l.Category, "benign") && l.Category != "benign-noise" {
			frames := read(name)
			benign = append(benign, frames)
			for _, f := range frames {
				friends[f.source] = true
			}
		}
	}
	var table strings.Builder
	w := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "attack\tto mitigate\tattack packets passed\tbenign dropped\tsource leases\tsignatures")
	var passed, attacks, spilt, benigns, found, played int
	var times []time.Duration
	for _, name := range names {
		l := labels[name]
		if !strings.HasPrefix(l.Category, "attack") || l.Expected == "none-or-observe" {
			continue
		}
		played++
		frames := looped(read(name), 5000)
		isOfAttack := l.isAttack()
		all, isAttack := mixed(benign, slices.DeleteFunc(frames, func(f frame) bool { return !isOfAttack(&f) }), busiest(frames))
		p := newPlayer(t, newEngine(t))
		var first time.Duration
		gone, lost := 0, 0
		start := all[slices.IndexFunc(all, func(f frame) bool { return f.at >= 20*time.Second && isOfAttack(&f) })].at
		if l.Onset != nil {
			start = max(start, 20*time.Second+time.Duration(*l.Onset*float64(time.Second)))
		}
		at := map[*frame]int{}
		for i := range all {
			at[&all[i]] = i
		}
		p.run(all, 130*time.Millisecond, time.Minute, func(f *frame) {
			if !isAttack[at[f]] {
				lost++
				return
			}
			if gone++; gone == 1 {
				first = f.at - start
			}
		})
		total := 0
		for _, a := range isAttack {
			if a {
				total++
			}
		}
		leases, signatures := 0, 0
		for _, d := range p.decided {
			switch m := d.Command.Match; {
			case d.Step != Issue:
			case !m.Source.IsValid():
				signatures++
			case friends[m.Source.Addr()] && !l.attackers()[m.Source.Addr()]:
				t.Errorf("%s: acted on a benign source: %s", name, d.Reason)
			default:
				leases++
			}
		}
		if l.Expected == "signature" && leases > 0 {
			t.Errorf("%s: %d leases on sources", name, leases)
		}
		if gone > 0 {
			found++
			times = append(times, first)
		}
		fmt.Fprintf(w, "%s\t%v\t%.2f %%\t%d of %d\t%d\t%d\n", name, first.Round(time.Millisecond), share(total-gone, total), lost, len(all)-total, leases, signatures)
		passed, attacks, spilt, benigns = passed+total-gone, attacks+total, spilt+lost, benigns+len(all)-total
	}
	w.Flush()
	t.Logf("over benign traffic:\n%s", &table)
	slices.Sort(times)
	t.Logf("%d attacks found, half of them mitigated within %v, all within %v; %.2f %% of their packets passed; %.4f %% of the benign ones were dropped", found, times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond), share(passed, attacks), share(spilt, benigns))
	if found < min(9, played) || share(passed, attacks) > 6 || share(spilt, benigns) > 0.05 {
		t.Error("want 9 attacks found, or all if fewer, at most 6 % of their packets passed and 0.05 % of the benign ones dropped")
	}
}

// busiest is the address that gets most of the frames.
func busiest(frames []frame) (best netip.Addr) {
	n := map[netip.Addr]int{}
	for i := range frames {
		a := frames[i].victim
		if n[a]++; n[a] > n[best] {
			best = a
		}
	}
	return best
}
