package gokakit

import (
	"slices"
	"sync"

	"github.com/lovoo/goka/storage"
)

// mapStore keeps one partition of a table in memory. goka's own memory store is
// quadratic in the number of keys; and nothing here is worth a disk, since the
// topic is the state.
type mapStore struct {
	mu     sync.RWMutex
	values map[string][]byte
	offset int64
	known  bool
}

var _ storage.Storage = (*mapStore)(nil)

// newMapStore implements storage.Builder.
func newMapStore(string, int32) (storage.Storage, error) {
	return &mapStore{values: map[string][]byte{}}, nil
}

func (s *mapStore) Open() error          { return nil }
func (s *mapStore) Close() error         { return nil }
func (s *mapStore) MarkRecovered() error { return nil }

func (s *mapStore) Has(key string) (bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.values[key]
	return ok, nil
}

func (s *mapStore) Get(key string) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.values[key], nil
}

func (s *mapStore) Set(key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
	return nil
}

func (s *mapStore) Delete(key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
	return nil
}

func (s *mapStore) GetOffset(def int64) (int64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !s.known {
		return def, nil
	}
	return s.offset, nil
}

func (s *mapStore) SetOffset(offset int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offset, s.known = offset, true
	return nil
}

func (s *mapStore) Iterator() (storage.Iterator, error) { return s.IteratorWithRange(nil, nil) }

func (s *mapStore) IteratorWithRange(start, limit []byte) (storage.Iterator, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	it := &mapIterator{at: -1}
	for k := range s.values {
		if (start == nil || k >= string(start)) && (limit == nil || k < string(limit)) {
			it.keys = append(it.keys, k)
		}
	}
	slices.Sort(it.keys)
	it.values = make([][]byte, len(it.keys))
	for i, k := range it.keys {
		it.values[i] = s.values[k]
	}
	return it, nil
}

// mapIterator walks over a snapshot.
type mapIterator struct {
	keys   []string
	values [][]byte
	at     int
}

func (i *mapIterator) Next() bool {
	i.at++
	return i.at < len(i.keys)
}
func (i *mapIterator) Err() error             { return nil }
func (i *mapIterator) Key() []byte            { return []byte(i.keys[i.at]) }
func (i *mapIterator) Value() ([]byte, error) { return i.values[i.at], nil }
func (i *mapIterator) Release()               { i.keys, i.values = nil, nil }

func (i *mapIterator) Seek(key []byte) bool {
	at, _ := slices.BinarySearch(i.keys, string(key))
	i.at = at - 1
	return at < len(i.keys)
}
