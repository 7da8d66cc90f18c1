package rules

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// checker collects what is wrong with a rules file, each with its line.
type checker struct {
	name string
	doc  *yaml.Node
	errs []error
}

// line finds the line of a path of keys and indexes, or of its nearest parent.
func (c *checker) line(path ...string) int {
	n, line := c.doc, 1
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, p := range path {
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == p {
					next = n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(p); err == nil && i < len(n.Content) {
				next = n.Content[i]
			}
		}
		if next == nil {
			return line
		}
		n, line = next, next.Line
	}
	return line
}

func (c *checker) refuse(want string, path ...string) {
	field := ""
	for i, p := range path {
		if i > 0 {
			field += "."
		}
		field += p
	}
	c.errs = append(c.errs, fmt.Errorf("%s:%d: %s: want %s", c.name, c.line(path...), field, want))
}

func (c *checker) check(r *Rules) {
	if r.Version != 1 {
		c.refuse("1", "version")
	}
	seen := map[string]bool{}
	for i := range r.Sources {
		c.source(&r.Sources[i], seen, strconv.Itoa(i))
	}
	for i := range r.Signatures {
		c.signature(&r.Signatures[i], seen, strconv.Itoa(i))
	}
	l := &r.Lease
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"first", l.First}, {"longest", l.Longest}, {"quiet", l.Quiet}} {
		if d.value < commands.MinTTL || d.value > commands.MaxTTL {
			c.refuse("1s to 24h", "lease", d.name)
		}
	}
	if l.Longest < l.First {
		c.refuse("at least lease.first", "lease", "longest")
	}
	if l.Relapse < 0 {
		c.refuse("0s or more", "lease", "relapse")
	}
	if l.RenewShare <= 0 || l.RenewShare > 1 {
		c.refuse("above 0 and at most 1", "lease", "renew_share")
	}
	if r.Budget.PerSecond < 1 {
		c.refuse("1 or more", "budget", "per_second")
	}
	if r.Budget.Total < 1 {
		c.refuse("1 or more", "budget", "total")
	}
}

func (c *checker) common(list, i, id string, seen map[string]bool, window time.Duration, action commands.Action, rate uint64) {
	if id == "" || seen[id] {
		c.refuse("an id of its own", list, i, "id")
	}
	seen[id] = true
	if window != time.Second && window != 10*time.Second {
		c.refuse("1s or 10s", list, i, "window")
	}
	switch action {
	case commands.Drop, commands.Observe:
	case commands.RateLimit:
		if rate == 0 {
			c.refuse("packets per second, 1 or more", list, i, "rate")
		}
	default:
		c.refuse("drop, rate-limit or observe", list, i, "action")
	}
}

func (c *checker) source(s *Source, seen map[string]bool, i string) {
	c.common("sources", i, s.ID, seen, s.Window, s.Action, s.Rate)
	if len(s.All) == 0 {
		c.refuse("at least one condition", "sources", i, "all")
	} else if s.All[0].AtLeast == nil {
		c.refuse("at_least in the first condition, which is the rule's threshold", "sources", i, "all", "0")
	}
	for list, conditions := range map[string][]Condition{"all": s.All, "any": s.Any} {
		for j, k := range conditions {
			at := strconv.Itoa(j)
			if !metrics[k.Metric] {
				c.refuse("syn, syn_share, udp, udp_mean_frame, port_pairs, icmp or packets", "sources", i, list, at, "metric")
			}
			if (k.AtLeast == nil) == (k.Below == nil) {
				c.refuse("at_least or below", "sources", i, list, at)
			}
		}
	}
	switch s.Cover {
	case CoverAll, CoverSYN, CoverICMP:
	default:
		c.refuse("all, syn or icmp", "sources", i, "cover")
	}
}

func (c *checker) signature(s *Signature, seen map[string]bool, i string) {
	c.common("signatures", i, s.ID, seen, s.Window, s.Action, s.Rate)
	class, ok := schemas.ParseClass(s.ClassName)
	if !ok || class != schemas.ClassSYN && class != schemas.ClassUDP && class != schemas.ClassSYNACK {
		c.refuse("syn, synack or udp", "signatures", i, "class")
	}
	s.Class = class
	if s.Packets < 1 {
		c.refuse("1 or more", "signatures", i, "packets")
	}
	if s.Sources < 1 {
		c.refuse("1 or more", "signatures", i, "sources")
	}
}
