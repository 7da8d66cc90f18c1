package fleet

import (
	"bytes"
	"net/netip"
	"strings"
)

// Found is one answer to a search.
type Found struct {
	Kind      string `json:"kind"` // host, interface, source
	Host      string `json:"host"`
	Interface string `json:"interface,omitempty"`
	Source    string `json:"source,omitempty"`
}

// Search finds hosts and interfaces whose name contains text, and the sources,
// now or within the last 15 minutes, that an address or a prefix covers.
func (f *Fleet) Search(text string, limit int) []Found {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	out := f.searchNames(strings.ToLower(text), limit)
	if prefix, ok := asPrefix(text); ok {
		out = append(f.searchSources(prefix.Contains, limit), out...)
	} else if strings.ContainsAny(text, ".:") && strings.Trim(text, "0123456789abcdefABCDEF.:") == "" {
		// The beginning of an address, as somebody types it.
		out = append(f.searchSources(func(a netip.Addr) bool {
			return strings.HasPrefix(a.String(), strings.ToLower(text))
		}, limit), out...)
	}
	return out[:min(len(out), limit)]
}

func asPrefix(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	return netip.Prefix{}, false
}

func (f *Fleet) searchNames(text string, limit int) []Found {
	var out []Found
	hosts := make(map[string]bool)
	for _, i := range f.order {
		if len(out) >= limit {
			break
		}
		if !hosts[i.Host] && strings.Contains(strings.ToLower(i.Host), text) {
			hosts[i.Host] = true
			out = append(out, Found{Kind: "host", Host: i.Host})
		}
		if strings.Contains(strings.ToLower(i.Key()), text) {
			out = append(out, Found{Kind: "interface", Host: i.Host, Interface: i.Interface})
		}
	}
	return out
}

func (f *Fleet) searchSources(covers func(netip.Addr) bool, limit int) []Found {
	var out []Found
	for _, i := range f.order {
		seen := make(map[netip.Addr]bool)
		add := func(a netip.Addr) {
			if !seen[a] && len(out) < limit && covers(a) {
				seen[a] = true
				out = append(out, Found{Kind: "source", Host: i.Host, Interface: i.Interface, Source: a.String()})
			}
		}
		i.eachSource(add)
		for a := range i.sources.byAddr {
			add(a)
		}
	}
	return out
}

// sourceMember is how schemas/rates begins each of a record's sources.
var sourceMember = []byte(`{"source":"`)

// eachSource calls do with each source of the last record. A search asks all interfaces,
// and to decode what every one of them sent would take a large fleet a third of a second,
// so it reads just the addresses of a value that is written as schemas/rates does.
func (i *Interface) eachSource(do func(netip.Addr)) {
	top := bytes.Index(i.value, topMember)
	if i.detail == nil && top > 0 {
		found := false
		for _, s := range bytes.Split(i.value[top:], sourceMember)[1:] {
			text, _, _ := bytes.Cut(s, []byte{'"'})
			if a, err := netip.ParseAddr(string(text)); err == nil {
				do(a)
				found = true
			}
		}
		if found {
			return
		}
	}
	for _, s := range i.Detail().Sources {
		do(s.Source)
	}
}
