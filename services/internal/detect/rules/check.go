package rules

import (
	"strconv"
	"time"

	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// place says where a set stands in the document: at the top, or in an override.
// An override names only some rules; what it does not name is not its fault.
type place struct {
	path []string
	rule func(list, id string, index int) (string, bool) // the rule's index in the document's list
}

func (p *place) at(path ...string) []string {
	return append(append([]string{}, p.path...), path...)
}

// setChecker checks one set.
type setChecker struct {
	*checker
	place
	seen map[string]bool
}

func (c *checker) check(r *Rules) {
	if r.Version != 1 {
		c.refuse("1", "version")
	}
	top := place{rule: func(_, _ string, index int) (string, bool) { return strconv.Itoa(index), true }}
	if c.set(&r.Set, top); len(c.errs) == 0 {
		c.overrides(r)
	}
}

// refuse says that a field at path of the document is not what is wanted.
func (c *checker) refuse(want string, path ...string) {
	field := ""
	for _, p := range path {
		field = join(field, p)
	}
	c.refuseAt(c.line(path...), want, field)
}

func (c *checker) set(r *Set, where place) {
	s := setChecker{c, where, map[string]bool{}}
	for i := range r.Sources {
		s.source(&r.Sources[i], i)
	}
	for i := range r.Signatures {
		s.signature(&r.Signatures[i], i)
	}
	for i := range r.Prefixes {
		s.prefix(&r.Prefixes[i], i)
	}
	switch r.Mode {
	case "":
		r.Mode = ModeEnforce
	case ModeEnforce, ModeObserve, ModeOff:
	default:
		s.want(false, "enforce, observe or off", "mode")
	}
	s.want(r.Link >= 0, "bits per second, 0 or more", "link")
	s.lease(&r.Lease)
	s.budget(&r.Budget)
	s.learning(r)
}

// want refuses a field of the set unless ok.
func (c *setChecker) want(ok bool, what string, path ...string) {
	if !ok {
		c.refuse(what, c.at(path...)...)
	}
}

func (c *setChecker) lease(l *Lease) {
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"first", l.First}, {"longest", l.Longest}, {"quiet", l.Quiet}} {
		c.want(d.value >= commands.MinTTL && d.value <= commands.MaxTTL, "1s to 24h", "lease", d.name)
	}
	c.want(l.Longest >= l.First, "at least lease.first", "lease", "longest")
	c.want(l.Relapse >= 0, "0s or more", "lease", "relapse")
	c.want(l.RenewShare > 0 && l.RenewShare <= 1, "above 0 and at most 1", "lease", "renew_share")
}

func (c *setChecker) budget(b *Budget) {
	c.want(b.PerSecond >= 1, "1 or more", "budget", "per_second")
	c.want(b.Total >= 1, "1 or more", "budget", "total")
	c.want(b.KnownShare >= 0 && b.KnownShare <= 1, "0 to 1", "budget", "known_share")
	c.want(b.KnownFree >= 0, "0 or more", "budget", "known_free")
	c.want(b.BytesShare >= 0 && b.BytesShare <= 1, "0 to 1", "budget", "bytes_share")
}

func (c *setChecker) learning(r *Set) {
	if u := &r.Unexplained; !u.Off && u.ID != "" {
		c.want(!c.seen[u.ID], "an id of its own", "unexplained", "id")
		c.want(u.Factor >= 1, "1 or more", "unexplained", "factor")
		c.want(u.Floor >= 1, "packets per second, 1 or more", "unexplained", "floor")
		c.want(u.For >= 0, "0s or more", "unexplained", "for")
		c.want(u.Explained > 0 && u.Explained <= 1, "above 0 and at most 1", "unexplained", "explained")
		c.want(u.Again >= 0, "0s or more", "unexplained", "again")
	}
	b := &r.Baseline
	c.want(b.Warm >= 0, "0s or more", "baseline", "warm")
	c.want(b.Memory >= time.Minute && b.Memory <= 12*time.Hour, "1m to 12h", "baseline", "memory")
	c.want(b.Thaw >= 0, "0s or more", "baseline", "thaw")
	c.want(b.Factor >= 1, "1 or more", "baseline", "factor")
	c.want(b.Limit >= 1, "1 or more", "baseline", "limit")
	c.want(r.Caution.PortPairs <= 64, "0 to 64", "caution", "port_pairs")
	c.want(r.Caution.Inside >= 0, "0 or more", "caution", "inside")
	c.want(r.Caution.SYNShare >= 0 && r.Caution.SYNShare <= 1, "0 to 1", "caution", "syn_share")
	c.want(r.Caution.Times >= 1, "1 or more", "caution", "times")
	c.want(r.Caution.TCP >= 0, "0 or more", "caution", "tcp")
}

// common checks what all rules have, and returns the rule's path.
func (c *setChecker) common(list, id string, index int, action commands.Action, rate uint64) (at []string, ok bool) {
	i, ok := c.rule(list, id, index)
	if !ok {
		return nil, false
	}
	c.want(id != "" && !c.seen[id], "an id of its own", list, i, "id")
	c.seen[id] = true
	switch action {
	case commands.Drop, commands.Observe:
	case commands.RateLimit:
		c.want(rate > 0, "packets per second, 1 or more", list, i, "rate")
	default:
		c.want(false, "drop, rate-limit or observe", list, i, "action")
	}
	return []string{list, i}, true
}

func (c *setChecker) source(s *Source, index int) {
	at, ok := c.common("sources", s.ID, index, s.Action, s.Rate)
	if !ok {
		return
	}
	under := func(path ...string) []string { return append(append([]string{}, at...), path...) }
	c.want(s.Window == time.Second || s.Window == 10*time.Second, "1s or 10s", under("window")...)
	c.want(len(s.All)+len(s.Any) > 0, "at least one condition in all or any", under("all")...)
	if len(s.All) > 0 {
		c.want(s.All[0].AtLeast != nil, "at_least in the first condition, which is the rule's threshold", under("all", "0")...)
	}
	for _, list := range []struct {
		name       string
		conditions []Condition
	}{{"all", s.All}, {"any", s.Any}} {
		for j := range list.conditions {
			k, at := &list.conditions[j], strconv.Itoa(j)
			_, known := metrics()[k.Metric]
			c.want(known, names(metrics()), under(list.name, at, "metric")...)
			c.want((k.AtLeast == nil) != (k.Below == nil), "at_least or below", under(list.name, at)...)
			c.want(k.AtLeast != nil || len(s.All) > 0, "at_least, where there is no all", under(list.name, at)...)
			c.want(k.For >= 0, "0s or more", under(list.name, at, "for")...)
		}
	}
	switch s.Cover {
	case CoverAll, CoverSYN, CoverUDP, CoverICMP, CoverFragments, CoverDominant:
	default:
		c.want(false, "all, syn, udp, icmp, fragments or dominant", under("cover")...)
	}
	c.want(s.DropAfterRenewals >= 0, "0 or more", under("drop_after_renewals")...)
	c.want(s.Unusual >= 0, "0 or more", under("unusual")...)
	c.want(s.DropAbove >= 0, "0 or more", under("drop_above")...)
}

// class resolves the name of a class that signatures may be about.
func (c *setChecker) class(name string, path ...string) schemas.Class {
	class, ok := schemas.ParseClass(name)
	c.want(ok && class != schemas.ClassTCPOther && class != schemas.ClassOther, "syn, synack, rst, udp, icmp or frag_later", path...)
	return class
}

func (c *setChecker) signature(s *Signature, index int) {
	at, ok := c.common("signatures", s.ID, index, s.Action, s.Rate)
	if !ok {
		return
	}
	under := func(path ...string) []string { return append(append([]string{}, at...), path...) }
	c.want(s.Window == time.Second || s.Window == 10*time.Second, "1s or 10s", under("window")...)
	s.Class = c.class(s.ClassName, under("class")...)
	c.want(s.Packets >= 1, "1 or more", under("packets")...)
	c.want(s.Sources >= 1, "1 or more", under("sources")...)
	c.want(s.PerSource >= 0, "0 or more", under("per_source")...)
	c.want(s.Healthy >= 0 && s.Healthy <= 1, "0 to 1", under("healthy")...)
	c.want(s.Healthy == 0 || s.Class == schemas.ClassSYN, "no share of TCP: only syn has one", under("healthy")...)
	c.want(s.Mute >= 0 && s.Mute <= 1, "0 to 1", under("mute")...)
	c.want(len(s.Ports) == 0 || s.Class == schemas.ClassUDP || s.Class == schemas.ClassSYNACK, "no ports: only udp and synack are told apart by source port", under("ports")...)
	c.want(len(s.Shared.Ports) == 0 || s.Shared.Sources >= 1, "1 or more", under("shared", "sources")...)
	f := &s.Fragments
	c.want(f.PerPacket == 0 || s.Class == schemas.ClassUDP, "0: only udp has fragments that count", under("fragments", "per_packet")...)
	c.want(f.PerPacket >= 0, "0 or more", under("fragments", "per_packet")...)
	c.want(f.MeanFrame >= 0, "bytes, 0 or more", under("fragments", "mean_frame")...)
	c.want(f.Sources >= 0 && f.Sources <= 1, "0 to 1", under("fragments", "sources")...)
	for j := range s.Also {
		i := strconv.Itoa(j)
		s.Also[j].Class = c.class(s.Also[j].ClassName, under("also", i, "class")...)
		c.want(s.Also[j].Packets >= 1, "1 or more", under("also", i, "packets")...)
		switch a := s.Also[j].Action; a {
		case "", commands.Drop, commands.RateLimit, commands.Observe:
			c.want(a != commands.RateLimit || s.Also[j].Rate > 0, "packets per second, 1 or more", under("also", i, "rate")...)
		default:
			c.want(false, "drop, rate-limit or observe", under("also", i, "action")...)
		}
	}
}

func (c *setChecker) prefix(p *Prefix, index int) {
	at, ok := c.common("prefixes", p.ID, index, p.Action, p.Rate)
	if !ok {
		return
	}
	under := func(field string) []string { return append(append([]string{}, at...), field) }
	c.want(p.Window >= time.Second && p.Window <= time.Hour, "1s to 1h", under("window")...)
	c.want(p.Blocked >= 2, "2 or more", under("blocked")...)
	c.want(p.Share > 0 && p.Share <= 1, "above 0 and at most 1", under("share")...)
	c.want(p.Bits4 >= 20 && p.Bits4 <= 31, "20 to 31: a shorter prefix holds too many others", under("bits4")...)
	c.want(p.Bits6 >= 40 && p.Bits6 <= 63, "40 to 63: a shorter prefix holds too many others", under("bits6")...)
	c.want(p.DropAfterRenewals >= 0, "0 or more", under("drop_after_renewals")...)
}
