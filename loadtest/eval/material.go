package eval

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weir-net/weir/loadtest/capture"
)

// topPPS is the fastest at which an attack is replayed: faster ones, cut out of
// floods as bursts of milliseconds, are stretched.
const topPPS = 5000

// ipv6Bits is how the probe groups IPv6 sources that are not on the link.
const ipv6Bits = 64

// item is one capture with its label, as far as it comes in.
type item struct {
	name    string
	label   *Label
	frames  []capture.Frame
	headers []header
	attacks []bool              // by frame
	attack  map[netip.Addr]bool // sources of the attack, grouped as the probe does
	victim  netip.Addr          // whom the attack is addressed to, mostly
	port    uint16              // and at which TCP port; 0: none
}

// readItems reads every capture of a directory that has a label with an
// expected outcome, by name, and says which could not be read.
func readItems(dir string) (items []*item, unreadable []error, err error) {
	labels, err := readLabels(filepath.Join(dir, "labels.json"))
	if err != nil {
		return nil, nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		label := labels[name]
		if label.Expected == "" {
			continue
		}
		frames, err := capture.Read(filepath.Join(dir, filepath.Base(label.File)))
		if err != nil {
			unreadable = append(unreadable, err)
			continue
		}
		it := newItem(name, label, frames)
		if len(it.frames) == 0 {
			unreadable = append(unreadable, fmt.Errorf("capture %s: nothing in it is addressed to %v", name, label.IngressDst))
			continue
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil, nil, errors.Join(append(unreadable, fmt.Errorf("%s has no capture with a label that says what is expected", dir))...)
	}
	return items, unreadable, nil
}

func newItem(name string, label *Label, frames []capture.Frame) *item {
	it := &item{name: name, label: label, attack: make(map[netip.Addr]bool)}
	victims, ports := make(map[netip.Addr]int), make(map[uint16]int)
	for _, f := range frames {
		h := parse(f.Data)
		if len(label.IngressDst) > 0 && !slices.Contains(label.IngressDst, h.destination) {
			continue
		}
		hit := label.Attackers.has(&h)
		it.frames, it.headers, it.attacks = append(it.frames, f), append(it.headers, h), append(it.attacks, hit)
		if !hit {
			continue
		}
		it.attack[capture.Group(h.source, ipv6Bits)] = true
		victims[h.destination]++
		if h.protocol == protocolTCP && h.ports {
			ports[h.destinationPort]++
		}
	}
	it.victim, _ = commonest(victims, netip.Addr.Compare)
	it.port, _ = commonest(ports, cmp.Compare)
	return it
}

// commonest returns the key with the highest count, of equal ones the first.
func commonest[K comparable](counts map[K]int, compare func(a, b K) int) (best K, n int) {
	for k, c := range counts {
		if c > n || c == n && compare(k, best) < 0 {
			best, n = k, c
		}
	}
	return best, n
}

// attackFrames are the frames from the onset of the attack on, at most topPPS
// of them a second.
func (it *item) attackFrames() []capture.Frame {
	from := 0
	if it.label.Onset != nil {
		onset := time.Duration(*it.label.Onset * float64(time.Second))
		for i, f := range it.frames {
			if it.attacks[i] && f.At >= onset {
				from = i
				break
			}
		}
	}
	return retime(it.frames[from:], topPPS)
}

// retime moves frames to the start, and apart where they are denser than pps.
func retime(frames []capture.Frame, pps int) []capture.Frame {
	gap := time.Second / time.Duration(pps)
	out := make([]capture.Frame, len(frames))
	for i, f := range frames {
		out[i] = f
		out[i].At -= frames[0].At
		if i > 0 {
			out[i].At = max(out[i].At, out[i-1].At+gap)
		}
	}
	return out
}

// busiest returns the section of so much time that has the most frames, from
// time 0.
func busiest(frames []capture.Frame, span time.Duration) []capture.Frame {
	from, to := 0, 0
	for i, j := 0, 0; i < len(frames); i++ {
		for j < len(frames) && frames[j].At-frames[i].At < span {
			j++
		}
		if j-i > to-from {
			from, to = i, j
		}
	}
	out := slices.Clone(frames[from:to])
	for i := range out {
		out[i].At -= frames[from].At
	}
	return out
}

// faster plays frames at a multiple of their speed.
func faster(frames []capture.Frame, times int) []capture.Frame {
	out := slices.Clone(frames)
	for i := range out {
		out[i].At /= time.Duration(times)
	}
	return out
}

// repeated plays frames over and over until the span is full.
func repeated(frames []capture.Frame, span time.Duration) []capture.Frame {
	var out []capture.Frame
	if len(frames) == 0 {
		return nil
	}
	loop := frames[len(frames)-1].At + time.Millisecond
	for start := time.Duration(0); start < span; start += loop {
		for _, f := range frames {
			if f.At += start; f.At >= span {
				return out
			}
			out = append(out, f)
		}
	}
	return out
}

// isBackdrop reports whether a capture is ordinary traffic that goes on beside
// every attack.
func (it *item) isBackdrop() bool { return it.label.Category == "benign" }

// visitorsV4 and visitorsV6 are where the sources of visitors are put: ranges
// for documentation, in which no attacker is.
var (
	visitorsV4 = netip.MustParseAddr("192.0.2.1")
	visitorsV6 = netip.MustParseAddr("2001:db8:7e57::1")
)

// backdrop is the benign traffic beside one attack: all captures of category
// benign with their own addresses, and visitors of the attacked host.
type backdrop struct {
	frames   []capture.Frame
	visitors map[netip.Addr]bool // grouped sources
}

// newBackdrop lasts for span. What comes from an address that attacks as well
// is left out: nobody could tell the one from the other.
func newBackdrop(items []*item, attack *item, span time.Duration) backdrop {
	out := backdrop{visitors: make(map[netip.Addr]bool)}
	for _, it := range items {
		if !it.isBackdrop() {
			continue
		}
		var frames []capture.Frame
		for i, f := range it.frames {
			if s := it.headers[i].source; !s.IsValid() || !attack.attack[capture.Group(s, ipv6Bits)] {
				frames = append(frames, f)
			}
		}
		out.frames = append(out.frames, repeated(frames, span)...)
	}
	visitors := visiting(items, attack)
	for _, f := range visitors {
		h := parse(f.Data)
		out.visitors[capture.Group(h.source, ipv6Bits)] = true
	}
	out.frames = append(out.frames, repeated(visitors, span)...)
	slices.SortStableFunc(out.frames, func(a, b capture.Frame) int { return cmp.Compare(a.At, b.At) })
	return out
}

// visiting are the frames of the benign capture with the most frames that fit,
// addressed to the attacked host and port. A load test is preferred, which
// opens many connections.
func visiting(items []*item, attack *item) []capture.Frame {
	var best []capture.Frame
	bestLoad := false
	for _, it := range items {
		load := it.label.Category == "benign-load"
		if !load && !it.isBackdrop() || bestLoad && !load || !attack.victim.IsValid() {
			continue
		}
		if frames := it.visit(attack); len(frames) > 0 && (load && !bestLoad || len(frames) > len(best)) {
			best, bestLoad = frames, load
		}
	}
	return best
}

// visit addresses the untagged TCP frames of the victim's address family to it.
func (it *item) visit(attack *item) []capture.Frame {
	var out []capture.Frame
	sources := make(map[netip.Addr]netip.Addr)
	next := visitorsV4
	if attack.victim.Is6() {
		next = visitorsV6
	}
	for i, f := range it.frames {
		h := &it.headers[i]
		if h.source.Is4() != attack.victim.Is4() || !h.source.IsValid() || h.protocol != protocolTCP || h.network != 14 {
			continue
		}
		if _, ok := sources[h.source]; !ok {
			sources[h.source] = next
			next = successor(next)
		}
		f.Data = readdress(f.Data, h, sources[h.source], attack.victim, attack.port)
		out = append(out, f)
	}
	return out
}

// successor is the next address, or of IPv6 that of the next /64, since one
// source is a /64 there.
func successor(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a.Next()
	}
	b := a.As16()
	b[7]++
	return netip.AddrFrom16(b)
}

// kindOf says in one word how a capture is played.
func (it *item) kindOf() kind {
	switch {
	case it.label.isAttack():
		return kindAttack
	case it.label.Expected == wantAlert || strings.HasPrefix(it.label.Category, "scan"):
		return kindAlert
	}
	return kindBenign
}

// kind is what a capture is to the evaluation.
type kind uint8

const (
	kindAttack kind = iota
	kindBenign      // nothing of it may be dropped; miners too, whom Weir only reports
	kindAlert       // reported, not judged
)
