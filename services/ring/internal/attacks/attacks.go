// Package attacks is what the attacks topic says: those that go on and those that
// are over. It does no input or output and has no clock.
package attacks

import (
	"cmp"
	"slices"

	"github.com/weir-net/weir/schemas/attacks"
)

// Limit is how many attacks are kept: those that go on first, then the newest.
const Limit = 300

// Entry is one attack, as it was last written.
type Entry struct {
	Key string // on the topic
	attacks.Record
	changed uint64
}

// Set is every attack that is known. Its methods must not run at once.
type Set struct {
	byKey   map[string]*Entry
	version uint64
	gone    []goneKey // oldest first
}

type goneKey struct {
	key     string
	changed uint64
}

// New returns an empty set.
func New() *Set { return &Set{byKey: make(map[string]*Entry)} }

// Apply takes one record of the attacks topic. No value deletes the attack.
func (s *Set) Apply(key, value []byte) error {
	if len(value) == 0 {
		s.remove(string(key))
		return nil
	}
	r, err := attacks.Decode(key, value)
	if err != nil {
		return err
	}
	s.version++
	s.byKey[string(key)] = &Entry{Key: string(key), Record: r, changed: s.version}
	if len(s.byKey) > Limit {
		s.remove(s.least().Key)
	}
	return nil
}

// Version changes with every attack that does.
func (s *Set) Version() uint64 { return s.version }

// Follow makes the versions of s go on from those of old, which it replaces.
func (s *Set) Follow(old *Set) {
	base := old.version + 1
	s.version += base
	for _, e := range s.byKey {
		e.changed += base
	}
	s.gone = nil
}

// Since returns what changed after the version, those that go on first and then
// the newest first, and the keys of attacks that are no longer kept. Everything
// has changed since version 0.
func (s *Set) Since(version uint64) (changed []Entry, gone []string) {
	for _, e := range s.byKey {
		if e.changed > version {
			changed = append(changed, *e)
		}
	}
	slices.SortFunc(changed, func(a, b Entry) int { return compare(&a, &b) })
	for _, g := range s.gone {
		if g.changed > version {
			gone = append(gone, g.key)
		}
	}
	return changed, gone
}

// Told says that nobody asks again for what changed up to the present version.
func (s *Set) Told() { s.gone = nil }

func (s *Set) remove(key string) {
	if s.byKey[key] == nil {
		return
	}
	delete(s.byKey, key)
	s.version++
	s.gone = append(s.gone, goneKey{key, s.version})
}

func (s *Set) least() *Entry {
	var last *Entry
	for _, e := range s.byKey {
		if last == nil || compare(e, last) > 0 {
			last = e
		}
	}
	return last
}

// compare orders attacks by how much they are of interest.
func compare(a, b *Entry) int {
	switch {
	case a.Ended() != b.Ended():
		if a.Ended() {
			return 1
		}
		return -1
	case !a.Start.Equal(b.Start):
		return b.Start.Compare(a.Start)
	}
	return cmp.Compare(a.Key, b.Key)
}
