package xdp

import "iter"

// Sources are the sources of one window. A flood has a million, of which few are
// ever looked at by name: they stay as small as they were counted until then.
type Sources struct {
	lists []*list
	own   []Source // of SourcesOf
}

// list are the sources of one part of a table.
type list struct {
	fours    []record4 // of one record each
	records  []record  // of the others; those of a source follow each other
	starts   []uint32  // by source: its first in records
	more     int       // sources that are not listed
	heaviest *heavy    // nil: all were listed until now
}

// SourcesOf returns sources that did not come from a data plane.
func SourcesOf(list []Source) Sources { return Sources{own: list} }

// Len returns how many are listed: all, unless there are more than Config.MaxSources.
func (s *Sources) Len() int {
	n := len(s.own)
	for _, l := range s.lists {
		n += l.len()
	}
	return n
}

// More returns how many there are beyond those that are listed. They are lighter than
// the heaviest by every measure.
func (s *Sources) More() int {
	n := 0
	for _, l := range s.lists {
		n += l.more
	}
	return n
}

// At returns source i, from 0 to Len-1.
func (s *Sources) At(i int) (source Source) {
	for _, l := range s.lists {
		if i < l.len() {
			l.read(i, &source)
			return source
		}
		i -= l.len()
	}
	return s.own[i]
}

// All returns the sources with their positions. What a position yields is
// overwritten by the next.
func (s *Sources) All() iter.Seq2[int, *Source] {
	return func(yield func(int, *Source) bool) {
		var source Source
		at := 0
		for _, l := range s.lists {
			for i := range l.len() {
				l.read(i, &source)
				if !yield(at, &source) {
					return
				}
				at++
			}
		}
		for i := range s.own {
			source = s.own[i]
			if !yield(at, &source) {
				return
			}
			at++
		}
	}
}

// heavy is asked once a list is full.
func (l *list) heavy() *heavy {
	if l.heaviest == nil {
		l.heaviest = &heavy{}
	}
	return l.heaviest
}

// offer reports whether the source of these records is among the heaviest.
func (l *list) offer(records []record) bool {
	if len(records) == 1 && records[0].kind() != kindPairs {
		kind, v := records[0].kind(), volumeOf(records[0].counts)
		return l.heavy().wants(kind, v) && l.heavy().offerOne(kind, v)
	}
	var s Source
	for i := range records {
		records[i].addTo(&s)
	}
	return l.heavy().offer(&s.Counters)
}

func (l *list) len() int { return len(l.fours) + len(l.starts) }

func (l *list) read(i int, into *Source) {
	if i < len(l.fours) {
		r := l.fours[i].record()
		*into = Source{Address: r.addr()}
		r.addTo(into)
		return
	}
	i -= len(l.fours)
	end := len(l.records)
	if i+1 < len(l.starts) {
		end = int(l.starts[i+1])
	}
	records := l.records[l.starts[i]:end]
	*into = Source{Address: records[0].addr()}
	for j := range records {
		records[j].addTo(into)
	}
}

// reset empties it, and keeps the memory for the next window unless that was a
// flood's which is over.
func (l *list) reset() {
	if n := l.len(); cap(l.fours)+cap(l.records) > 1<<12 && cap(l.fours)+cap(l.records) > 8*n {
		*l = list{}
	}
	l.fours, l.records, l.starts, l.more = l.fours[:0], l.records[:0], l.starts[:0], 0
	if l.heaviest != nil {
		l.heaviest.reset()
	}
}
