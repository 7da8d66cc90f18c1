package rules

import (
	"errors"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/weir-net/weir/schemas/commands"
)

// MaxOverrides bounds the list, so that which of them apply is a word of bits.
const MaxOverrides = 64

// Override changes numbers for some hosts, interfaces, sources or victims. Every
// condition that is set must hold; of several overrides the later one wins.
type Override struct {
	Name       string    `yaml:"name"`
	Hosts      []string  `yaml:"hosts"`      // patterns with * and ?; empty: any
	Interfaces []string  `yaml:"interfaces"` // patterns
	From       []string  `yaml:"from"`       // prefixes of sources, or names of groups; for rules about sources
	To         []string  `yaml:"to"`         // prefixes of victims, or names of groups; for signatures
	Set        yaml.Node `yaml:"set"`        // what differs, in the form of the rules; rules by their id, conditions by their metric

	from, to []netip.Prefix
}

// Mask says which overrides apply, one bit each.
type Mask uint64

// For returns the overrides that hold for a whole interface: those that name no
// prefix.
func (r *Rules) For(host, ifname string) Mask {
	var m Mask
	for i := range r.Overrides {
		if o := &r.Overrides[i]; len(o.From)+len(o.To) == 0 && o.isAbout(host, ifname) {
			m |= 1 << i
		}
	}
	return m
}

// HasFrom reports whether any override is about sources.
func (r *Rules) HasFrom() bool {
	return slices.ContainsFunc(r.Overrides, func(o Override) bool { return len(o.From) > 0 })
}

// HasTo reports whether any override is about victims.
func (r *Rules) HasTo() bool {
	return slices.ContainsFunc(r.Overrides, func(o Override) bool { return len(o.To) > 0 })
}

// From returns the overrides that hold for a source on the interface.
func (r *Rules) From(host, ifname string, source netip.Addr) Mask {
	return r.within(host, ifname, source, func(o *Override) []netip.Prefix { return o.from })
}

// To returns the overrides that hold for a victim on the interface.
func (r *Rules) To(host, ifname string, victim netip.Addr) Mask {
	return r.within(host, ifname, victim, func(o *Override) []netip.Prefix { return o.to })
}

func (r *Rules) within(host, ifname string, a netip.Addr, of func(*Override) []netip.Prefix) Mask {
	var m Mask
	for i := range r.Overrides {
		o := &r.Overrides[i]
		if slices.ContainsFunc(of(o), func(p netip.Prefix) bool { return p.Contains(a) }) && o.isAbout(host, ifname) {
			m |= 1 << i
		}
	}
	return m
}

func (o *Override) isAbout(host, ifname string) bool {
	fits := func(patterns []string, name string) bool {
		return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := path.Match(p, name)
			return ok && err == nil
		})
	}
	return fits(o.Hosts, host) && fits(o.Interfaces, ifname)
}

// Resolve returns the set with the overrides of m. Rules stand in it at the same
// indexes as in the rules file.
func (r *Rules) Resolve(m Mask) *Set {
	s := r.clone()
	for i := range r.Overrides {
		if m&(1<<i) == 0 {
			continue
		}
		// Parse has applied each override to the rules once without an error.
		if err := s.apply(&r.Overrides[i].Set); err != nil {
			return r.clone()
		}
	}
	c := checker{doc: &yaml.Node{}}
	c.set(s, place{rule: func(_, _ string, i int) (string, bool) { return strconv.Itoa(i), true }}) // resolves names
	return s
}

// clone copies a set so far that apply can change the copy.
func (s *Set) clone() *Set {
	c := *s
	c.Sources = slices.Clone(s.Sources)
	for i := range c.Sources {
		c.Sources[i].All, c.Sources[i].Any = slices.Clone(c.Sources[i].All), slices.Clone(c.Sources[i].Any)
	}
	c.Signatures = slices.Clone(s.Signatures)
	for i := range c.Signatures {
		c.Signatures[i].Also = slices.Clone(c.Signatures[i].Also)
	}
	c.Prefixes = slices.Clone(s.Prefixes)
	return &c
}

// lists are the fields of a set that hold rules, found by their ids.
func (s *Set) lists() map[string]func(id string) any {
	return map[string]func(id string) any{
		"sources": func(id string) any {
			return byID(s.Sources, func(x *Source) bool { return x.ID == id })
		},
		"signatures": func(id string) any {
			return byID(s.Signatures, func(x *Signature) bool { return x.ID == id })
		},
		"prefixes": func(id string) any {
			return byID(s.Prefixes, func(x *Prefix) bool { return x.ID == id })
		},
	}
}

func byID[T any](list []T, is func(*T) bool) any {
	for i := range list {
		if is(&list[i]) {
			return &list[i]
		}
	}
	return nil
}

// errNoRule is what apply returns for an id that no rule has.
var errNoRule = errors.New("no rule has this id")

// apply changes s by what n, in the form of a set, says.
func (s *Set) apply(n *yaml.Node) error {
	lists := s.lists()
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		find := lists[name]
		if find == nil {
			one := yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: n.Content[i : i+2]}
			if err := one.Decode(s); err != nil {
				return err
			}
			continue
		}
		for _, item := range value.Content {
			if err := applyRule(find(idOf(item)), item); err != nil {
				return err
			}
		}
	}
	return nil
}

func applyRule(rule any, item *yaml.Node) error {
	if rule == nil {
		return errNoRule
	}
	s, ok := rule.(*Source)
	if !ok {
		return item.Decode(rule)
	}
	before := *s
	if err := item.Decode(s); err != nil {
		return err
	}
	if child(item, "all") != nil {
		s.All = merge(before.All, s.All)
	}
	if child(item, "any") != nil {
		s.Any = merge(before.Any, s.Any)
	}
	return nil
}

// merge puts changed conditions in the place of those on the same metric.
func merge(before, changed []Condition) []Condition {
	out := slices.Clone(before)
	for _, k := range changed {
		i := slices.IndexFunc(out, func(o Condition) bool { return o.Metric == k.Metric })
		if i < 0 {
			out = append(out, k)
			continue
		}
		out[i] = k
	}
	return out
}

func idOf(n *yaml.Node) string {
	if id := child(n, "id"); id != nil {
		return id.Value
	}
	return ""
}

// overrides checks the overrides, each as applied alone.
func (c *checker) overrides(r *Rules) {
	if len(r.Overrides) > MaxOverrides {
		c.refuse("at most 64", "overrides")
		return
	}
	groups := map[string][]netip.Prefix{}
	for name, list := range r.Groups {
		groups[name] = c.prefixes(list, nil, "groups", name)
	}
	for i := range r.Overrides {
		o, at := &r.Overrides[i], strconv.Itoa(i)
		c.patterns(o.Hosts, "overrides", at, "hosts")
		c.patterns(o.Interfaces, "overrides", at, "interfaces")
		o.from = c.prefixes(o.From, groups, "overrides", at, "from")
		o.to = c.prefixes(o.To, groups, "overrides", at, "to")
		if o.Set.Kind != yaml.MappingNode || len(o.Set.Content) == 0 {
			c.refuse("what differs, such as lease: {first: 5m}", "overrides", at, "set")
			continue
		}
		c.scope(o, at)
		c.override(r, o, at)
	}
}

// scope refuses what an override about prefixes cannot change.
func (c *checker) scope(o *Override, at string) {
	if len(o.From)+len(o.To) == 0 {
		return
	}
	for i := 0; i+1 < len(o.Set.Content); i += 2 {
		switch name := o.Set.Content[i].Value; {
		case name == "sources" && len(o.From) > 0, name == "signatures" && len(o.To) > 0, name == "lease", name == "caution":
		default:
			c.refuse("an override without from and to: those select only sources (from), signatures (to), lease and caution", "overrides", at, "set", name)
		}
	}
}

func (c *checker) override(r *Rules, o *Override, at string) {
	for name := range (&Set{}).lists() {
		list := child(&o.Set, name)
		for i := range contentOf(list) {
			if r.lists()[name](idOf(list.Content[i])) == nil {
				c.refuse("the id of one of the rules above", "overrides", at, "set", name, strconv.Itoa(i), "id")
				return
			}
		}
	}
	s := r.clone()
	if err := s.apply(&o.Set); err != nil {
		c.refuse("a part of the rules ("+err.Error()+")", "overrides", at, "set")
		return
	}
	c.set(s, place{path: []string{"overrides", at, "set"}, rule: func(list, id string, _ int) (string, bool) {
		for i, item := range contentOf(child(&o.Set, list)) {
			if idOf(item) == id {
				return strconv.Itoa(i), true
			}
		}
		return "", false
	}})
}

func contentOf(n *yaml.Node) []*yaml.Node {
	if n == nil {
		return nil
	}
	return n.Content
}

func (c *checker) patterns(list []string, at ...string) {
	for i, p := range list {
		if _, err := path.Match(p, ""); err != nil || p == "" {
			c.refuse("a name, or a pattern such as edge-*", append(slices.Clone(at), strconv.Itoa(i))...)
		}
	}
}

// prefixes reads a list of prefixes and, if groups is not nil, names of groups.
func (c *checker) prefixes(list []string, groups map[string][]netip.Prefix, at ...string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range list {
		if g, ok := groups[s]; ok {
			out = append(out, g...)
			continue
		}
		p, err := commands.ParsePrefix(s)
		if err != nil {
			want := "a prefix such as 192.0.2.0/24"
			if groups != nil {
				want += ", or the name of a group"
			}
			c.refuse(want+" ("+strings.TrimSpace(err.Error())+")", append(slices.Clone(at), strconv.Itoa(i))...)
			continue
		}
		out = append(out, p)
	}
	return out
}
