package backtest

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	record "github.com/weir-net/weir/schemas/attacks"
	"github.com/weir-net/weir/schemas/commands"
	"github.com/weir-net/weir/services/internal/detect/engine"
)

// Change says how the two sides differ about a lease.
type Change string

// The changes.
const (
	Same    Change = "same"    // both order it at the same time, by the same rule and action
	Changed Change = "changed" // both order it, by another rule, action or rate
	Earlier Change = "earlier" // both order it, the new rules sooner
	Later   Change = "later"   // both order it, the new rules later
	OnlyOld Change = "only-old"
	OnlyNew Change = "only-new"
	Neither Change = "neither" // only done in reality
)

// Line is one lease, on both sides and in reality.
type Line struct {
	Change    Change `json:"change"`
	Key       string `json:"key"`
	Interface string `json:"interface"` // <host>/<ifname>
	Match     string `json:"match"`
	Old       *Made  `json:"old,omitempty"`
	New       *Made  `json:"new,omitempty"`
	Done      *Done  `json:"done,omitempty"`
}

// RuleLine is one rule on both sides.
type RuleLine struct {
	Rule string `json:"rule"`
	Old  Tally  `json:"old"`
	New  Tally  `json:"new"`
	Done int    `json:"done"` // leases written in reality
}

// Result is what has come of a run. It is the same for the same history.
type Result struct {
	From       time.Time `json:"from"`
	To         time.Time `json:"to"`
	Records    uint64    `json:"records"` // of counts
	Windows    uint64    `json:"windows"`
	Interfaces int       `json:"interfaces"`
	Packets    uint64    `json:"packets"` // that the windows counted
	Bad        uint64    `json:"bad_records"`
	Duplicates uint64    `json:"duplicates"`

	Changes    map[Change]int  `json:"changes"`
	Rules      []RuleLine      `json:"rules"`
	Leases     []Line          `json:"leases"` // by the time of the first decision
	OldAttacks []record.Record `json:"old_attacks"`
	NewAttacks []record.Record `json:"new_attacks"`
	Notes      []string        `json:"notes"`
}

// Differs reports whether the new rules decide otherwise than the old ones.
func (r *Result) Differs() bool {
	for change, n := range r.Changes {
		if change != Same && change != Neither && n > 0 {
			return true
		}
	}
	return slices.ContainsFunc(r.Rules, func(x RuleLine) bool { return x.Old.Alerts != x.New.Alerts || x.Old.Refused != x.New.Refused })
}

// Notes are what everybody who reads a result must know.
var notes = [...]string{
	"What leases do to traffic cannot be replayed: the counts are those of a world in which the leases of then were in force. A source that gets no answers sends less.",
	"Renewals and releases follow from packets that leases would have dropped, taken from the counts. For signatures that is an upper bound: sources seen conversing pass them, and the counts do not tell.",
	"Both sides begin without leases and without a memory of quiet times: leases that stood at the beginning are ordered anew, and rules that compare with what is usual know nothing of it at first.",
}

// compare fills in what the two sides made.
func (r *Result) compare(old, new *side, d *done) {
	keys := map[string]bool{}
	for _, m := range []map[string]*Made{old.made, new.made} {
		for key := range m {
			keys[key] = true
		}
	}
	for key, x := range d.leases {
		if x.Issuer == engine.Issuer && !x.Before {
			keys[key] = true
		}
	}
	r.Changes = map[Change]int{}
	r.Leases = make([]Line, 0, len(keys))
	for key := range keys {
		line := Line{Key: key, Old: old.made[key], New: new.made[key], Done: d.leases[key]}
		line.Change = changeOf(line.Old, line.New)
		switch {
		case line.Old != nil:
			line.Interface, line.Match = line.Old.iface, line.Old.match.String()
		case line.New != nil:
			line.Interface, line.Match = line.New.iface, line.New.match.String()
		default:
			line.Interface, line.Match = line.Done.iface, line.Done.match.String()
		}
		r.Changes[line.Change]++
		r.Leases = append(r.Leases, line)
	}
	slices.SortFunc(r.Leases, func(a, b Line) int { return cmp.Or(a.first().Compare(b.first()), cmp.Compare(a.Key, b.Key)) })
	r.Rules = ruleLines(old, new, d)
	r.OldAttacks, r.NewAttacks = old.attackList(), new.attackList()
	r.Notes = slices.Clone(notes[:])
}

// first is when anything was decided, or done, about a lease.
func (l *Line) first() time.Time {
	var first time.Time
	note := func(t time.Time) {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	if l.Old != nil {
		note(l.Old.First)
	}
	if l.New != nil {
		note(l.New.First)
	}
	if l.Old == nil && l.New == nil && l.Done != nil {
		note(l.Done.First)
	}
	return first
}

func changeOf(old, new *Made) Change {
	switch {
	case old == nil && new == nil:
		return Neither
	case new == nil:
		return OnlyOld
	case old == nil:
		return OnlyNew
	case old.Rule != new.Rule || old.Action != new.Action || old.Strongest != new.Strongest || !sameRate(old.Rate, new.Rate):
		return Changed
	case new.First.Before(old.First):
		return Earlier
	case old.First.Before(new.First):
		return Later
	}
	return Same
}

func sameRate(a, b *commands.Rate) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func ruleLines(old, new *side, d *done) []RuleLine {
	names := map[string]bool{}
	for rule := range old.rules {
		names[rule] = true
	}
	for rule := range new.rules {
		names[rule] = true
	}
	doneBy := map[string]int{}
	for _, x := range d.leases {
		if x.Rule != "" && !x.Before && x.Issuer == engine.Issuer {
			doneBy[x.Rule]++
			names[x.Rule] = true
		}
	}
	out := make([]RuleLine, 0, len(names))
	for _, rule := range slices.SortedFunc(maps.Keys(names), strings.Compare) {
		line := RuleLine{Rule: rule, Done: doneBy[rule]}
		if t := old.rules[rule]; t != nil {
			line.Old = *t
		}
		if t := new.rules[rule]; t != nil {
			line.New = *t
		}
		out = append(out, line)
	}
	return out
}
