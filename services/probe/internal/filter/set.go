// Package filter turns the commands topic into the data plane's leases: it
// keeps every live command that concerns this host, judges it, and puts the
// effective lease of each match into XDP.
package filter

import (
	"iter"
	"math/bits"
	"slices"
	"strings"

	"github.com/weir-net/weir/bpf/xdp"
	"github.com/weir-net/weir/schemas"
	"github.com/weir-net/weir/schemas/commands"
)

// ref names a lease of a set; zero is none.
type ref uint32

// blockSize is how many leases are allocated, read, installed or removed at a time,
// that is without letting go of the lock: 1 to 2 µs each.
const blockSize = 1024

// maxSameMatch bounds the leases of one match, which differ by target and issuer
// and are searched one after the other.
const maxSameMatch = 256

// set is the leases of the log by match and owner. It is made for a million: no
// lease is an object, and neither the blocks nor the map hold a pointer, so that
// the garbage collector has nothing to follow. One takes some 230 bytes in all.
type set struct {
	blocks  []*[blockSize]held
	free    []ref
	end     ref // the first place that was never used
	n       int
	first   map[match]ref
	owners  []owned
	unowned []uint32 // places in owners
	byOwner map[owner]uint32
	issuers map[string]int // leases
	modes   map[string]*commands.Lease
	lapses  lapses
}

// owned counts the leases of an owner.
type owned struct {
	owner
	tally
}

// tally counts leases.
type tally struct{ applied, suspended int }

func newSet() *set {
	return &set{
		end: 1, first: map[match]ref{}, byOwner: map[owner]uint32{},
		issuers: map[string]int{}, modes: map[string]*commands.Lease{},
	}
}

// at returns the lease that r names.
func (s *set) at(r ref) *held { return &s.blocks[r/blockSize][r%blockSize] }

// find returns the lease of a key, and how many leases have its match.
func (s *set) find(m match, o owner) (r ref, same int) {
	id, known := s.byOwner[o]
	for i := s.first[m]; i != 0; i = s.at(i).next {
		same++
		if known && s.at(i).owner == id {
			r = i
		}
	}
	return r, same
}

// of returns the lease that e was made of, or zero.
func (s *set) of(e *xdp.Entry) ref {
	for i := s.first[packedEntry(&e.Match)]; i != 0; i = s.at(i).next {
		if s.at(i).offset == e.Offset {
			return i
		}
	}
	return 0
}

// key returns the text of a lease's key.
func (s *set) key(h *held) string {
	o := s.owners[h.owner]
	return commands.Key{Target: o.target, Match: h.match.command(), Issuer: o.issuer}.String()
}

// block returns the leases of block n.
func (s *set) block(n int) iter.Seq2[ref, *held] {
	return func(yield func(ref, *held) bool) {
		for i := ref(n) * blockSize; i < min(s.end, ref(n+1)*blockSize); i++ {
			if h := s.at(i); h.used && !yield(i, h) {
				return
			}
		}
	}
}

// put takes a lease in, in place of the earlier one under its key.
func (s *set) put(h held, o owner) {
	r, _ := s.find(h.match, o)
	s.replace(r, h, o)
}

// replace is put where find has been asked: r is the earlier one, or zero.
func (s *set) replace(r ref, h held, o owner) {
	if r != 0 {
		s.remove(r)
	}
	r = s.place()
	p := s.at(r)
	h.generation, h.used, h.owner = p.generation, true, s.own(o)
	h.prev, h.next = 0, s.first[h.match]
	*p = h
	if h.next != 0 {
		s.at(h.next).prev = r
	}
	s.first[h.match] = r
	s.n++
	s.count(p, 1)
	s.issuers[s.owners[h.owner].issuer]++
	s.lapses.push(lapse{expires: h.expires, lease: r, generation: h.generation})
	s.prune()
}

// place returns a free place.
func (s *set) place() ref {
	if n := len(s.free); n > 0 {
		r := s.free[n-1]
		s.free = s.free[:n-1]
		return r
	}
	if int(s.end/blockSize) == len(s.blocks) {
		s.blocks = append(s.blocks, new([blockSize]held))
	}
	s.end++
	return s.end - 1
}

// own returns the number of an owner, which counts none yet if it is new.
func (s *set) own(o owner) uint32 {
	if id, ok := s.byOwner[o]; ok {
		return id
	}
	// Its texts are parts of the record that it came with, which need not be kept.
	o = owner{target: schemas.Target{Kind: o.target.Kind, Host: strings.Clone(o.target.Host), Interface: strings.Clone(o.target.Interface)},
		issuer: strings.Clone(o.issuer)}
	id := uint32(len(s.owners))
	if n := len(s.unowned); n > 0 {
		id, s.unowned = s.unowned[n-1], s.unowned[:n-1]
	} else {
		s.owners = append(s.owners, owned{})
	}
	s.owners[id] = owned{owner: o}
	s.byOwner[o] = id
	return id
}

// disown forgets an owner without leases.
func (s *set) disown(id uint32) {
	if s.owners[id].tally == (tally{}) {
		delete(s.byOwner, s.owners[id].owner)
		s.owners[id] = owned{}
		s.unowned = append(s.unowned, id)
	}
}

// remove forgets a lease.
func (s *set) remove(r ref) {
	h := s.at(r)
	switch {
	case h.prev != 0:
		s.at(h.prev).next = h.next
	case h.next != 0:
		s.first[h.match] = h.next
	default:
		delete(s.first, h.match)
	}
	if h.next != 0 {
		s.at(h.next).prev = h.prev
	}
	s.count(h, -1)
	s.n--
	issuer := s.owners[h.owner].issuer
	if s.issuers[issuer]--; s.issuers[issuer] == 0 {
		delete(s.issuers, issuer)
	}
	s.disown(h.owner)
	*h = held{generation: h.generation + 1}
	s.free = append(s.free, r)
}

// shrink gives memory back once it is held for sixteen times the leases that are left.
func (s *set) shrink() {
	const spare = 16
	if len(s.blocks) <= spare || spare*s.n > len(s.blocks)*blockSize {
		return
	}
	fresh := newSet()
	for n := range s.blocks {
		for _, h := range s.block(n) {
			fresh.put(*h, s.owners[h.owner].owner)
		}
	}
	fresh.modes = s.modes
	*s = *fresh
}

// count adds by to the tally that h is in.
func (s *set) count(h *held, by int) {
	t := &s.owners[h.owner].tally
	if h.suspended {
		t.suspended += by
	} else {
		t.applied += by
	}
}

// suspend sets whether a lease of the set is applied.
func (s *set) suspend(h *held, suspended bool) {
	s.count(h, -1)
	h.suspended = suspended
	s.count(h, 1)
}

// Interface is one attached interface, as commands target it.
type Interface struct {
	Slot xdp.Slot
	Name string
}

// site is where leases are put: what entries depend on besides them.
type site struct {
	host       string
	interfaces []Interface
	instant
}

// entries appends what the data plane should hold for one match, whose first lease
// is r: usually one entry, more if leases with different targets differ by interface.
func (s *set) entries(out []xdp.Entry, r ref, where *site) []xdp.Entry {
	if r == 0 {
		return out
	}
	if h := s.at(r); h.next == 0 { // so it is with nearly all of a million
		return s.only(out, h, where)
	}
	masks := map[*held]uint64{}
	var order []*held
	for _, i := range where.interfaces {
		best := s.best(r, i.Name, where)
		if best == nil {
			continue
		}
		if masks[best] == 0 {
			order = append(order, best)
		}
		masks[best] |= 1 << i.Slot
	}
	// The one for most interfaces gets the plain match, the others variants.
	slices.SortStableFunc(order, func(a, b *held) int {
		return bits.OnesCount64(masks[b]) - bits.OnesCount64(masks[a])
	})
	for i, h := range order {
		out = append(out, h.entry(masks[h], uint8(i), where.instant))
	}
	return out
}

// best returns the lease in effect on an interface, of those from r on.
func (s *set) best(r ref, ifname string, where *site) (best *held) {
	for ; r != 0; r = s.at(r).next {
		h := s.at(r)
		if s.owners[h.owner].target.Matches(where.host, ifname) && h.isPut(where) && (best == nil || h.beats(best)) {
			best = h
		}
	}
	return best
}

// isPut reports whether a lease has an entry: the dead-man's is kept, silenced.
func (h *held) isPut(where *site) bool { return h.live(where.wall) && (!h.suspended || h.deadMan) }

// only is entries of a match that one lease has.
func (s *set) only(out []xdp.Entry, h *held, where *site) []xdp.Entry {
	if !h.isPut(where) {
		return out
	}
	var mask uint64
	for _, i := range where.interfaces {
		if s.owners[h.owner].target.Matches(where.host, i.Name) {
			mask |= 1 << i.Slot
		}
	}
	if mask == 0 {
		return out
	}
	return append(out, h.entry(mask, 0, where.instant))
}
